"""How long requests may wait, and how long one would wait before a number of workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from seawall.criticality import Criticality

TARGETS: Final[Mapping[Criticality, float]] = {
    Criticality.SHEDDABLE: 0.03,
    Criticality.SHEDDABLE_PLUS: 0.05,
    Criticality.CRITICAL: 0.1,
    Criticality.CRITICAL_PLUS: 0.2,
}
"""Seconds of waiting that a request of each class bears."""

_WEIGHT: Final = 0.1
"""Of the newest request in the estimate of the service time."""


class WaitEstimate:
    """Estimates the wait in a queue from how long requests took lately."""

    __slots__ = ("service_time",)

    def __init__(self) -> None:
        self.service_time = 0.0
        """Seconds that a request has a worker for; 0 = not known yet."""

    def observe(self, worked: float) -> None:
        """A request has had a worker for that many seconds."""
        known = self.service_time
        self.service_time = known + _WEIGHT * (worked - known) if known else worked

    def wait(self, before: int, workers: int) -> float:
        """Seconds until a worker is free for a request that ``before`` others wait before."""
        # All workers are busy: the next one is free after a part of a service time.
        return (before + 1) * self.service_time / workers
