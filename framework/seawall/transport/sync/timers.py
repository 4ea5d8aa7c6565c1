"""Alarms of a sync channel: many are set, hardly any is ever reached, and one thread rings them.

Setting and cancelling are a set operation each, as on the event loop (``transport.limits``); the
price is a grain of 10 ms. The thread wakes only when something may be due: slots that have become
empty since are passed over.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from seawall.transport.limits import GRAIN, LATE

THREAD: Final = "seawall-timers"

_log = logging.getLogger("seawall.transport")


class Alarm:
    """Base of what is rung: it says how."""

    __slots__ = ("put_off", "slot")
    slot: int
    put_off: bool
    """Its time had come when the process was held up, so it was given a moment more."""

    def ring(self) -> None:
        """It is due. Called on the timers' thread."""
        raise NotImplementedError


_Alarms = set[Alarm]


class Timers:
    """Rings alarms, and does things at once, on a thread of its own that the first of them starts.

    All methods may be called by any thread, and under any lock but this one's: they block for
    microseconds.
    """

    def __init__(self) -> None:
        self._slots: dict[int, _Alarms] = {}
        self._order: list[int] = []
        """A heap of the slots."""
        self._wakes: float = math.inf
        """The slot for which the thread will wake; -inf while it is awake."""
        self._soon: deque[Callable[[], None]] = deque()
        # Re-entrant: collected objects, and signal handlers, end calls in the midst of anything.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    def set(self, alarm: Alarm, due: float) -> None:
        """Ring it at ``due`` on the monotonic clock, up to a grain late, never early."""
        alarm.slot = slot = int(due / GRAIN) + 1
        alarm.put_off = False
        alarms = self._slots.get(slot)
        if alarms is not None:
            # No lock for most: the thread takes a slot's alarms after it has removed the slot.
            alarms.add(alarm)
            if self._slots.get(slot) is alarms:
                return
        with self._lock:
            alarms = self._slots.get(slot)
            if alarms is None:
                alarms = self._slots[slot] = set()
                heapq.heappush(self._order, slot)
            alarms.add(alarm)
            if slot < self._wakes:
                self._wake()

    def cancel(self, alarm: Alarm) -> None:
        """Don't ring it. It may be ringing at this moment: who is called has to look."""
        alarms = self._slots.get(alarm.slot)
        if alarms is not None:
            alarms.discard(alarm)

    def soon(self, do: Callable[[], None]) -> None:
        """Call ``do`` on the thread, at once."""
        with self._lock:
            self._soon.append(do)
            self._wake()

    def close(self) -> None:
        """Ring no more; the thread does what was to be done at once, and ends."""
        with self._lock:
            self._closed = True
            self._news.notify_all()

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads: the next alarm tries it again
                _log.warning("%s can't be started, so limits are late: %s", THREAD, error)
                return
            self._thread = thread
        self._news.notify()

    def _run(self) -> None:
        while self._ring_those_due():
            with self._lock:
                if self._soon:
                    continue
                self._wakes = self._order[0] if self._order else math.inf
                left = self._wakes * GRAIN - time.monotonic()
                if not self._closed:
                    self._news.wait(None if self._wakes == math.inf else max(0.0, left))
                self._wakes = -math.inf

    def _ring_those_due(self) -> bool:
        """False once it is closed. Holds no call on return, as that may be dropped then."""
        with self._lock:
            goes_on = not self._closed
            jobs = self._due() if goes_on else list(self._soon)
        for job in jobs:
            try:
                job()
            except BaseException:  # one call's trouble is not the others'
                _log.exception("a call could not go on after a wait")
        return goes_on

    def _due(self) -> list[Callable[[], None]]:
        """What is to be called now."""
        jobs = list(self._soon)
        self._soon.clear()
        now = time.monotonic()
        while self._order:
            slot = self._order[0]
            alarms = self._slots[slot]
            if alarms and slot * GRAIN > now:
                break
            heapq.heappop(self._order)
            del self._slots[slot]
            late = now - slot * GRAIN > LATE
            for alarm in list(alarms):
                if late and not alarm.put_off:
                    self._put_off(alarm, now + LATE)
                else:
                    jobs.append(alarm.ring)
        return jobs

    def _put_off(self, alarm: Alarm, due: float) -> None:
        """The process was held up: what is waited for may have arrived meanwhile, unread.

        Once, as a process that is always busy would else never come to it.
        """
        alarm.put_off = True
        alarm.slot = slot = int(due / GRAIN) + 1
        if slot not in self._slots:
            self._slots[slot] = set()
            heapq.heappush(self._order, slot)
        self._slots[slot].add(alarm)
