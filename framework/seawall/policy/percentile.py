"""A percentile of recent durations, kept while calls run."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 256
"""Durations that are looked at: the latest ones."""

FEWEST: Final = 32
"""Before as many are known there is no percentile; then it is reckoned anew after as many more."""


class Percentile:
    """The value below which ``share`` (0 to 1) of the latest durations lie; None until known."""

    __slots__ = ("_at", "_durations", "share", "value")

    def __init__(self, share: float) -> None:
        self.share = share
        self.value: float | None = None
        self._durations: list[float] = []
        self._at = 0
        """How many have been observed."""

    def observe(self, seconds: float) -> None:
        if len(self._durations) < WINDOW:
            self._durations.append(seconds)
        else:
            self._durations[self._at % WINDOW] = seconds
        self._at += 1
        if self._at % FEWEST == 0:
            ordered = sorted(self._durations)
            self.value = ordered[min(int(self.share * len(ordered)), len(ordered) - 1)]
