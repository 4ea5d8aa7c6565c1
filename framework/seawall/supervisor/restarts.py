"""When a worker that ended is started again."""

from __future__ import annotations

from collections import deque
from typing import Final

from seawall.supervisor.timing import Timing

MINUTE: Final = 60.0


class BackOff:
    """The pauses of one worker.

    A worker that ends before it serves, or soon after, would most likely do so again, so its starts
    come further and further apart. One that served, or was killed from outside while it did, is
    missed by its clients and can serve again: it is started at once. What keeps that from spinning
    (a request that kills it a second later, a machine without memory) is that there are only so
    many restarts a minute.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._in_a_row = 0
        self._starts: deque[float] = deque()

    def pause(self, now: float, served: float, *, from_outside: bool = False) -> float:
        """Seconds until it is started again, now that it has ended after serving so long.

        ``from_outside``: neither itself nor its supervisor ended it.
        """
        timing = self._timing
        if from_outside or served >= timing.steady:
            self._in_a_row, pause = 0, 0.0
        else:
            # 2**20 first pauses are more than any longest one; with no limit the power overflows.
            pause = min(timing.first_pause * 2.0 ** min(self._in_a_row, 20), timing.longest_pause)
            self._in_a_row += 1
        while self._starts and self._starts[0] <= now - MINUTE:
            self._starts.popleft()
        if len(self._starts) >= timing.most_a_minute:
            pause = max(pause, self._starts[-timing.most_a_minute] + MINUTE - now)
        self._starts.append(now + pause)
        return pause
