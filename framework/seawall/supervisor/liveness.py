"""Whether a worker hangs, judged by what came of asking it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from seawall.supervisor.timing import Timing

FEWEST: Final = 3
"""Questions in a row without an answer before a worker can be said to hang."""


class Answer(Enum):
    """What came of a question."""

    ALIVE = "its event loop turns, or it is starting or leaving"
    WEDGED = "its event loop has not turned for ``Timing.wedged`` seconds"
    SILENT = "none came"


class Liveness:
    """The verdict on one worker.

    It hangs when it has given no sign of life for ``patience`` seconds: there was no answer to
    ``FEWEST`` questions in a row over that time, or it says that its loop has stood still so long.
    Time in which nobody asked is no evidence: if this process was frozen itself (SIGSTOP, a machine
    that slept), the worker was as well, so the count begins anew.
    """

    def __init__(self, timing: Timing, limit: float) -> None:
        """Asked every ``timing.interval`` seconds, with ``limit`` seconds for the answer."""
        self._timing = timing
        self._limit = 2 * limit
        self._longest_gap = 2 * (timing.interval + limit)
        self._heard: float | None = None
        self._since = 0.0
        self._bad = 0

    def heard(self, asked: float, now: float, answer: Answer) -> float | None:
        """Take what came of the question asked at ``asked``.

        Returns None, or if it hangs the seconds for which it has given no sign of life.
        """
        gap = 0.0 if self._heard is None else asked - self._heard
        frozen = gap > self._longest_gap or now - asked > self._limit
        self._heard = now
        if answer is Answer.ALIVE or frozen:
            self._bad = 0
            return None
        if self._bad == 0:
            self._since = asked
        self._bad += 1
        enough = self._bad >= FEWEST
        if answer is Answer.WEDGED:
            self._since = min(self._since, asked - self._timing.wedged)
            enough = True
        silent = now - self._since
        return silent if enough and silent >= self._timing.hang else None
