"""Measuring how long requests wait: when a probe is sent, and what the gate hears of it.

A probe is a request of the server's own, which waits in line with the others. Who sends it, and
knows the time, is elsewhere: ``server.load.probe`` on a real server.
"""

from __future__ import annotations

from typing import Final

from seawall.admission.gate import WINDOW, Gate

_TURNS: Final = 2
"""In a window of the gate: so many probes go out once requests have to wait, and one before."""
TURN: Final = WINDOW / _TURNS
"""Seconds between two turns."""
_REST: Final = 2 * _TURNS
"""Turns without a request after which nothing is measured until the next one."""
_REQUESTS: Final = 10
"""A probe goes out after so many requests, so that it costs little of what they cost."""
_SUSPICIOUS: Final = 0.005
"""Seconds of waiting from which on probes go out however few requests there are."""


class Line:
    """Where the requests of one method wait, first come, first served."""

    __slots__ = ("known", "passed", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.passed = 0
        """Requests that have come to its front, where they are admitted or refused."""
        self.known = 0
        """Those of them that had come when the last probe was sent."""


class Measuring:
    """Has probes sent, one at a time, and tells the gate how long they waited."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._lines: list[Line] = []
        self._turns = 0
        self._last = 0
        """The turn before the last request."""
        self._sent: float | None = None
        """When the probe was sent of which the gate has not been told all yet."""
        self._took: float | None = None
        self._probed: Line | None = None
        self._before = 0
        """Requests that had passed the probed line when the probe was sent."""

    def add(self, line: Line) -> None:
        """Probes may be sent to ``line``."""
        self._lines.append(line)

    def awake(self) -> None:
        """A request has come to the front of a line: turns are wanted."""
        self._last = self._turns

    @property
    def idle(self) -> bool:
        """Whether there is nothing to measure, so that the next turn can wait for a request."""
        return not self._gate.shedding and self._turns - self._last >= _REST

    def turn(self, now: float) -> Line | None:
        """Tell the gate what is known. To be called each ``TURN`` seconds unless ``idle``.

        Returns the line to send a probe to, unless one is still under way; None: send none.
        """
        self._turns += 1
        due = self._measure(now)
        if self._turns % _TURNS == 0:
            self._gate.turn(now)
        return due

    def sent(self, line: Line, now: float) -> None:
        """A probe has been sent to ``line``."""
        self._sent, self._took = now, None
        self._probed, self._before = line, line.passed
        for each in self._lines:
            each.known = each.passed

    def arrived(self, now: float) -> None:
        """The probe has come to the front of its line."""
        if self._sent is not None and self._took is None:
            self._took = now - self._sent

    def lost(self) -> bool:
        """The probe has ended; returns whether it had not arrived, and so tells nothing more."""
        if self._sent is None or self._took is not None:
            return False
        self._sent = None
        return True

    def _measure(self, now: float) -> Line | None:
        wait = None
        if self._sent is not None and self._probed is not None:
            arrived = self._took is not None
            wait = now - self._sent if self._took is None else self._took
            self._gate.waited(wait, self._probed.passed - self._before, arrived=arrived)
            if arrived:
                self._sent = self._took = None
        suspicious = self._gate.shedding or (wait or 0.0) > _SUSPICIOUS
        busiest = max(self._lines, key=_unprobed, default=None)
        if busiest is None or suspicious:
            return busiest
        due = self._turns % _TURNS == 0 and _unprobed(busiest) >= _REQUESTS
        return busiest if due else None


def _unprobed(line: Line) -> int:
    """Requests that have passed since the last probe was sent."""
    return line.passed - line.known
