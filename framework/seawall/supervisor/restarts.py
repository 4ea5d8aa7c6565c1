"""When a worker that ended is started again."""

from __future__ import annotations

from collections import deque
from typing import Final

from seawall.supervisor.timing import Timing

MINUTE: Final = 60.0


class BackOff:
    """The pauses of one worker: doubled while it keeps ending soon, and so many a minute."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._in_a_row = 0
        self._starts: deque[float] = deque()

    def pause(self, now: float, served: float) -> float:
        """Seconds until it is started again, now that it has ended after serving so long."""
        timing = self._timing
        if served >= timing.steady:
            self._in_a_row = 0
        # 2**20 first pauses are more than any longest one; without a limit the power overflows.
        pause = min(timing.first_pause * 2.0 ** min(self._in_a_row, 20), timing.longest_pause)
        self._in_a_row += 1
        while self._starts and self._starts[0] <= now - MINUTE:
            self._starts.popleft()
        if len(self._starts) >= timing.most_a_minute:
            pause = max(pause, self._starts[-timing.most_a_minute] + MINUTE - now)
        self._starts.append(now + pause)
        return pause
