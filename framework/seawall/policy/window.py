"""Counting over the last seconds: how many events, and how many of them were bad."""

from __future__ import annotations

from collections import deque
from typing import Final

BUCKETS: Final = 10
"""A window forgets a tenth of its length at a time."""


class Window:
    """Counts good and bad events over the last ``length`` seconds.

    Nothing older counts; of what is younger, everything but perhaps the oldest tenth. An event
    costs one addition and one comparison: the totals only ever grow, and what they were at the
    start of the window is subtracted when somebody asks.
    """

    __slots__ = ("_bad", "_good", "_marks", "_turn", "_width")

    def __init__(self, length: float) -> None:
        self._width = length / BUCKETS
        self._marks: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        """The totals at the start of each bucket, the oldest first, the present one last."""
        self._good = self._bad = 0
        self._turn = float("-inf")
        """When the present bucket ends."""

    def good(self, now: float) -> None:
        if now >= self._turn:
            self._advance(now)
        self._good += 1

    def bad(self, now: float) -> None:
        if now >= self._turn:
            self._advance(now)
        self._bad += 1

    def counts(self, now: float) -> tuple[int, int]:
        """How many were good and how many bad."""
        if now >= self._turn:
            self._advance(now)
        good, bad = self._marks[0]
        return self._good - good, self._bad - bad

    def clear(self) -> None:
        """Forget everything."""
        self._turn = float("-inf")

    def _advance(self, now: float) -> None:
        past = (now - self._turn) / self._width
        if past < BUCKETS - 1:
            steps = int(past) + 1
            self._turn += steps * self._width
        else:  # the first event ever, or after a silence
            steps = BUCKETS
            self._turn = now + self._width
        self._marks.extend([(self._good, self._bad)] * steps)
