"""How much a server has to do, as it tells its clients with each answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

from seawall.call import LoadReport
from seawall.clock import Clock
from seawall.server.load.orca import orca_entry
from seawall.transport.load import own_entry

_RECENT: Final = 32
"""Answers of which the median is told."""
_MEDIAN_EVERY: Final = 8
"""Answers after which it is reckoned anew."""
_ORCA_EVERY: Final = 0.02
"""Seconds between two answers that carry ORCA."""
_SPAN: Final = 1.0
"""Seconds over which rates and CPU are reckoned."""


class Meter:
    """Counts the requests of one process: from when a handler begins to when it ends.

    On the event loop a request's handler begins as soon as the loop takes it, so what waits
    inside it (for a lock, a pool, another service) is in flight too, and what waits for
    admission is counted with it.
    """

    def __init__(
        self,
        clock: Clock = time.monotonic,
        cpu: Clock = time.process_time,
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self.in_flight = 0
        """Requests whose handlers have begun and not ended."""
        self._waiting = waiting
        """Counts the requests that wait for their handler."""
        self._clock = clock
        self._cpu = cpu
        self._lock = Lock()
        """``def`` handlers end on threads of their own."""
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._median: float | None = None
        self._answered = 0
        self._failed = 0
        self._told = float("-inf")
        self._since = clock()
        self._cpu_then = cpu()
        self._rates = (0.0, 0.0, 0.0)
        """CPU seconds, answers and failures, each a second, over the last span."""

    def begin(self) -> float:
        """A request is taken up; returns when, for ``end``."""
        with self._lock:
            self.in_flight += 1
        return self._clock()

    def end(
        self, began: float, *, asked: bool = False, failed: bool = False
    ) -> list[tuple[str, str | bytes]]:
        """It is answered, or has failed. Returns what its caller is told, as trailing metadata.

        Who asks is told each time. Others are told now and then: gRPC's balancers look at a mean
        over seconds, and telling costs a few per cent of a small call.
        """
        now = self._clock()
        with self._lock:
            self.in_flight -= 1
            self._failed += failed
            self._answered += 1
            self._recent.append(now - began)
            over = now - self._since >= _SPAN
            if over or self._median is None or self._answered % _MEDIAN_EVERY == 0:
                self._median = sorted(self._recent)[len(self._recent) // 2]
            if over:
                self._reckon(now)
        told: list[tuple[str, str | bytes]] = []
        if asked:
            told.append(own_entry(self.report()))
        elif now - self._told >= _ORCA_EVERY:
            self._told = now
            told.append(orca_entry(self.report()))
        return told

    def report(self) -> LoadReport:
        """As things are now."""
        cpu, rate, errors = self._rates
        return LoadReport(self.in_flight + self._waiting(), self._median, cpu, rate, errors)

    def _reckon(self, now: float) -> None:
        span, cpu = now - self._since, self._cpu()
        used = (cpu - self._cpu_then) / span
        self._rates = (used, self._answered / span, self._failed / span)
        self._since, self._cpu_then = now, cpu
        self._answered = self._failed = 0
