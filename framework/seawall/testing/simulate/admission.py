"""Overload control of a simulated replica: the server's own queue, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.admission.estimate import TARGETS
from seawall.admission.queue import Queue, QueuePolicy


@dataclass(frozen=True, slots=True)
class Admission:
    """When a replica refuses requests for having too many (RESOURCE_EXHAUSTED).

    It decides as a server does that has ``max_concurrency``, which are its workers: by the
    estimated wait, the class of the request, and its deadline.
    """

    target: float | None = None
    """Seconds of estimated wait beyond which a request is refused, of whatever class; None = as
    servers have it: 0.2 s for the most critical class down to 0.03 s for the least."""
    pushback: float | None = None
    """Seconds of ``grpc-retry-pushback-ms`` in the refusal: "not run; try again after that";
    None = nothing is said."""
    cost: float = 0.0
    """Seconds of a worker that a refusal takes, before all that waits."""

    def queue(self, workers: int) -> Queue:
        """The queue before so many workers."""
        target = self.target
        targets = TARGETS if target is None else dict.fromkeys(TARGETS, target)
        return Queue(QueuePolicy(workers, targets, longest=1_000_000))
