"""A clock that stands still until it is told to go on."""

from __future__ import annotations


class FakeClock:
    """A ``seawall.clock.Clock``: ``clock()`` is the time, ``clock.advance(s)`` moves it."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ValueError if they are negative."""
        if seconds < 0:
            raise ValueError("time does not go backwards")
        self.now += seconds
