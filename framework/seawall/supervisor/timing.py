"""How long the supervisor waits for what. All in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The defaults suit services that start within seconds and never hold their loop for long."""

    first_pause: float = 0.1
    """Before a worker that ended too soon is started again; doubled each time it does so again.
    What Docker begins with."""
    longest_pause: float = 10.0
    """The most of that. A worker that can't start costs a start every 10 s, no more."""
    steady: float = 1.0
    """A worker that served so long did not end too soon: it is started again at once. What
    supervisord takes as a start that succeeded (``startsecs``)."""
    most_a_minute: int = 10
    """Restarts of one worker in any 60 s, whatever it ended with; those beyond wait. It is never
    given up: what it lacks may come back."""
    start: float = 120.0
    """Until a worker that was started serves; else it is killed, and counts as one that ended."""
    hang: float = 10.0
    """So long without a sign of life and it is killed."""
    wedged: float = 2.0
    """So long a worker's event loop stands still before it says so of itself."""
    ask: float = 1.0
    """Between two questions whether it lives, or a fifth of ``hang`` if that is less."""
    leave: float = 10.0
    """Until a worker that has not told its grace leaves when it is asked to."""
    echo: float = 0.2
    """A signal that comes so soon after the first is the same wish: ``timeout`` and others send it
    to the process and to its group."""

    @property
    def interval(self) -> float:
        """Seconds between two questions."""
        return min(self.ask, self.hang / 5)
