"""Overload control of a simulated replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WEIGHT: Final = 0.1
"""Of the newest request in the estimate of the service time."""


@dataclass(frozen=True, slots=True)
class Admission:
    """When a replica refuses requests for having too many (RESOURCE_EXHAUSTED)."""

    target: float = 0.1
    """Seconds of estimated wait in the queue beyond which a request is refused; also refused is
    what would wait beyond its deadline."""
    pushback: float | None = None
    """Seconds of ``grpc-retry-pushback-ms`` in the refusal: "not run; try again after that";
    None = nothing is said."""
    cost: float = 0.0
    """Seconds of a worker that a refusal takes, before all that waits."""


class WaitEstimate:
    """Estimates the wait in a queue from how long requests took lately."""

    __slots__ = ("_service_time",)

    def __init__(self) -> None:
        self._service_time = 0.0

    def observe(self, worked: float) -> None:
        """A request has taken a worker that many seconds."""
        known = self._service_time
        self._service_time = known + _WEIGHT * (worked - known) if known else worked

    def wait(self, before: int, workers: int) -> float:
        """Seconds until a worker is free for a request that ``before`` others wait before."""
        # All workers are busy: the next one is free after a part of a service time.
        return (before + 1) * self._service_time / workers
