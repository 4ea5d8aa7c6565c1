"""How late an event loop is, measured on it and known beside it, also while it is blocked.

A tick on the loop, every 0.1 s, notes how late it is. A thread (``monitor``) sees that a tick is
overdue, and says in the log what the loop runs in place of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Final

from seawall.events import Listener, LoopBlocked
from seawall.server.event_loop.monitor import monitor
from seawall.server.event_loop.stack import depth
from seawall.server.settings import BLOCKED_AFTER

TICK: Final = 0.1
"""Seconds between ticks. What a process costs while it has nothing to do is mostly this: waking it
takes ten times as long as the tick itself."""
_PEAK_TICKS: Final = 100
"""Ticks, 10 s of them, that the peak looks back on at the least: as often as metrics are read."""

WEDGED_AFTER: Final = 2.0
"""Seconds after which it is no sign of life any more that the process answers beside its loop.
Whoever may restart it asks several times: blocking code may take as long by mistake, and a restart
costs the calls under way."""


@dataclass(frozen=True, slots=True)
class _Member:
    listener: Listener
    bound: float


class LoopWatch:
    """Watches one event loop, for all the servers on it. Made by ``join``.

    All that is known can be read from any thread, at the cost of reading a clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.bound = BLOCKED_AFTER
        """Seconds above which a lag is a block: the least that any server asks for."""
        self.ticks = 0
        self.beneath = 0
        """How many frames of its thread's stack are the loop's own."""
        self.blocks = 0
        """How many times the loop has been blocked, so far."""
        self.blocked_seconds = 0.0
        """How long altogether."""
        self.last_block = 0.0
        """How long the last of these times."""
        self._members: dict[object, _Member] = {}
        self._late = 0.0
        self._peaks = (0.0, 0.0)
        self._forgiven = (0, 0.0)
        """A number of ticks, and the seconds that the tick after them may be late."""
        self._due = time.monotonic()
        self._timer: asyncio.Handle = loop.call_soon(self._tick)

    @classmethod
    def join(cls, owner: object, listener: Listener, bound: float = BLOCKED_AFTER) -> LoopWatch:
        """The watch of the running loop, for ``owner`` until it ``leave``s.

        ``listener`` is told of blocks longer than ``bound`` seconds, on the loop.
        """
        loop = asyncio.get_running_loop()
        with _lock:
            watch = _watches.get(loop)
            if watch is None:
                watch = _watches[loop] = cls(loop)
        watch._members[owner] = _Member(listener, bound)
        watch._settle()
        return watch

    def leave(self, owner: object) -> None:
        """``owner`` doesn't need it any more; without owners it ends."""
        self._members.pop(owner, None)
        self._settle()

    @property
    def lag(self) -> float:
        """Seconds that the loop is late: how late its last tick was, or how late the next one is
        by now, if that is more. It is not smoothed: what has waited is known at once, and
        forgotten 0.1 s after the loop is back in time."""
        overdue = time.monotonic() - self._due
        return overdue if overdue > self._late else self._late

    @property
    def peak(self) -> float:
        """The largest lag of the last 10 to 20 s."""
        return max(*self._peaks, self.lag)

    @property
    def blocked(self) -> float:
        """Seconds for which the loop has not turned, up to now; 0 = it turns.

        Unlike the lag it leaves out the time in which the whole process was frozen, or stopped in
        a debugger: nothing on the loop is to blame for that, and nobody need restart it.
        """
        ticks, forgiven = self._forgiven
        overdue = time.monotonic() - self._due
        if ticks == self.ticks:
            overdue -= forgiven
        return overdue if overdue > 0 and self.loop.is_running() else 0.0

    def forgive(self, seconds: float) -> None:
        """Don't hold so much of the time since the last tick against the loop."""
        ticks, forgiven = self._forgiven
        now = self.ticks
        self._forgiven = (now, seconds + (forgiven if ticks == now else 0.0))

    def tell(self, event: LoopBlocked) -> None:
        """Tell the servers' listeners, on the loop. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._tell, event)

    def _tell(self, event: LoopBlocked) -> None:
        for member in tuple(self._members.values()):
            if event.duration >= member.bound:
                member.listener(event)

    def _tick(self) -> None:
        now = time.monotonic()
        late = now - self._due
        # In this order: a reader in between sees a loop that is in time.
        self._late = late if late > 0 else 0.0
        self._due = now + TICK
        self.ticks += 1
        if late > self.bound:
            self.blocks += 1
            self.blocked_seconds += late
            self.last_block = late
        if late > self._peaks[1]:
            self._peaks = (self._peaks[0], late)
        if self.ticks % _PEAK_TICKS == 0:
            self._peaks = (self._peaks[1], 0.0)
        self.beneath = depth(sys._getframe(1))
        self._timer = self.loop.call_later(TICK, self._tick)

    def _settle(self) -> None:
        """Go by who is left."""
        if self._members:
            self.bound = min(member.bound for member in self._members.values())
            monitor.add(self)
            return
        self._timer.cancel()
        monitor.remove(self)
        with _lock:
            if _watches.get(self.loop) is self:
                del _watches[self.loop]


_lock: Final = threading.Lock()
_watches: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWatch]] = (
    weakref.WeakKeyDictionary()
)
