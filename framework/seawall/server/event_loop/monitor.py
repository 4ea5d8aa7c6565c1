"""The thread that sees event loops that don't turn, and says what blocks them.

One for the process. It writes nothing itself: a log that can't be written to may be just what
blocks the loop, and would stop this thread too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Final

from seawall.events import LoopBlocked
from seawall.server.event_loop.stack import Sample, named, sample

if TYPE_CHECKING:
    from seawall.server.event_loop.watch import LoopWatch

_log = logging.getLogger("seawall.server")

LOOK: Final = 0.1
"""Seconds between two looks. A block is seen in its course if it lasts longer than the bound, a
tick and a look; shorter ones are counted all the same, by the tick."""
_PLACES_OF_ONE: Final = 3
"""Lines of one function that are told: code that computes is at another line each time."""
_MOST_PLACES: Final = 200

_IDLE: Final = 0.1
"""The share of a core below which a process can be said not to have run: a machine with ten times
the work that it has cores for leaves as much."""

_WAITING: Final = "the interpreter lock"
_MANY: Final = "many short tasks"


@dataclass(slots=True)
class Block:
    """A time in which a loop does not turn."""

    by: str
    place: str
    stack: Sample
    so_far: float
    before: int
    """How many the loop had had."""
    duration: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def report(self) -> None:
        """Log it, and its end. Runs in a thread of its own, for as long as it lasts."""
        if self.by == _WAITING:
            what = "is ready and does not get to run: C code in another thread keeps " + _WAITING
        elif self.by == _MANY:
            what = f"is behind with {_MANY}: this process is given more than one core can do"
        else:
            what = f"is blocked by {self.by} at {self.place}"
        _log.warning(
            "the event loop %s, for %.2f s so far; no call is answered meanwhile. Code that blocks "
            "belongs into a `def` handler or asyncio.to_thread(). Said once for this place.%s",
            what,
            self.so_far,
            "\n" + self.stack.format() if self.stack.positions else "",
        )
        self.ended.wait()
        _log.warning("the event loop turns again: %.2f s in %s", self.duration, self.place)


@dataclass(slots=True)
class _View:
    """What is known of one loop since it last turned."""

    ticks: int = -1
    entry: FrameType | None = None
    samples: int = 0
    single: bool = True
    """All samples were of one and the same callback."""
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The time from one look to the next."""

    frozen: float = 0.0
    """Seconds of it in which this process was not let run: stopped by a signal, or without a
    core."""
    kept_off: bool = False
    """It took longer, as C code did not let this thread run."""


class Monitor:
    """Looks at every watched loop, ten times a second, while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: dict[LoopWatch, _View] = {}
        self._stop = threading.Event()
        self._told: Counter[str] = Counter()
        self._places: set[str] = set()

    def add(self, watch: LoopWatch) -> None:
        """Look at it from now on."""
        with self._lock:
            if watch in self._views:
                return
            self._views[watch] = _View()
            if len(self._views) == 1:
                self._stop = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._stop,), name="seawall loop monitor", daemon=True
                ).start()

    def remove(self, watch: LoopWatch) -> None:
        """Look at it no more."""
        with self._lock:
            view = self._views.pop(watch, None)
            if not self._views:
                self._stop.set()
        if view is not None:
            _end(watch, view)

    def _run(self, stop: threading.Event) -> None:
        looked, cpu = time.monotonic(), time.process_time()
        while not stop.is_set():
            time.sleep(LOOK)  # half the work of waiting for ``stop``
            now, used = time.monotonic(), time.process_time()
            step = step_of(now - looked, used - cpu)
            looked, cpu = now, used
            with self._lock:
                views = list(self._views.items())
            for watch, view in views:
                try:
                    self.look(watch, view, step)
                except Exception:
                    _log.exception("the event loop could not be looked at")

    def look(self, watch: LoopWatch, view: _View, step: Step) -> None:
        """See whether it has turned since the last look."""
        if watch.loop.is_closed():
            self.remove(watch)
            return
        if watch.ticks != view.ticks or not watch.loop.is_running():
            _end(watch, view)
            view.ticks = watch.ticks
        if step.frozen:
            watch.forgive(step.frozen)
        # Before it counts, to see whether it is one callback all the time.
        if view.block is None and watch.ticks and watch.blocked >= watch.bound / 2:
            self._examine(watch, view, step)

    def _examine(self, watch: LoopWatch, view: _View, step: Step) -> None:
        seen = sample(watch.thread, watch.beneath)
        if watch.ticks != view.ticks:
            return  # it turned meanwhile: this is not what blocked it
        if seen.debugged:
            watch.forgive(watch.blocked)
            return
        view.single = view.single and (view.samples == 0 or seen.entry is view.entry)
        view.entry, view.samples = seen.entry, view.samples + 1
        if watch.blocked >= watch.bound and (view.samples > 1 or step.kept_off):
            view.block = self._block(watch, seen, view.single)

    def _block(self, watch: LoopWatch, seen: Sample, single: bool) -> Block:
        by, place, stack = _WAITING, _WAITING, Sample(())
        if seen.culprit is not None:
            by = place = _MANY
            if single:
                task = asyncio.current_task(watch.loop)
                name = named(task.get_name()) if task is not None else ""
                by = f"{seen.culprit.name} of task {name!r}" if name else seen.culprit.name
                place, stack = seen.culprit.place, seen
        block = Block(by, place, stack, watch.blocked, watch.blocks)
        if self._is_news(block):
            # Not this thread: the log may be what blocks.
            threading.Thread(target=block.report, name="seawall loop report", daemon=True).start()
        return block

    def _is_news(self, block: Block) -> bool:
        if block.place in self._places or len(self._places) >= _MOST_PLACES:
            return False
        if self._told[block.by] >= _PLACES_OF_ONE:
            return False
        self._told[block.by] += 1
        self._places.add(block.place)
        return True


def step_of(seconds: float, cpu: float) -> Step:
    """What is to be thought of the time between two looks; ``cpu``: what the process used of it.

    A thread that comes late although its process has computed was kept off by C code that holds the
    interpreter lock. That is a block like any other, and no second look at it will come.
    """
    excess = seconds - LOOK
    if excess <= LOOK:
        return Step()
    return Step(frozen=excess) if cpu < excess * _IDLE else Step(kept_off=True)


def _end(watch: LoopWatch, view: _View) -> None:
    """It turns, or is watched no more."""
    view.entry, view.samples, view.single = None, 0, True
    block, view.block = view.block, None
    if block is None:
        return
    block.duration = watch.last_block if watch.blocks > block.before else block.so_far
    block.ended.set()
    watch.tell(LoopBlocked(block.by, block.place, block.duration))


monitor: Final = Monitor()
