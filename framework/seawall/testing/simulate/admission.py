"""Overload control of a simulated replica: the server's own queue and gate, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seawall.admission.estimate import TARGETS
from seawall.admission.queue import Queue, QueuePolicy
from seawall.server.calls import admission as server

PUSHBACKS: Final = tuple(milliseconds / 1000 for milliseconds in server.PUSHBACKS)
"""Seconds that servers say, one after the other."""


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


@dataclass(frozen=True, slots=True)
class Shedding:
    """When a replica refuses requests whose handlers compute on the event loop.

    It decides as every server does unless it has ``shedding=False``: by how long its probes wait,
    and by class. A request waits in line, and is admitted or refused when its turn has come.
    The event loop is one worker: ``workers=1``.
    """

    pushback: float | Sequence[float] | None = PUSHBACKS
    """Seconds of ``grpc-retry-pushback-ms`` in the refusals, one after the other; None = nothing
    is said, and then clients do not keep back."""
    cost: float = 0.00018
    """Seconds of the event loop that a refusal takes; measured with grpcio 1.85 on the machine on
    which an echo takes 0.17 ms."""


def unfit(workers: int | None, admission: Admission | Shedding | None) -> str | None:
    """Why so many workers can't have that admission control; None = they can."""
    if not isinstance(admission, Shedding) or workers == 1:
        return None
    return (
        f"Shedding() needs workers=1, not {workers}: it is for handlers that compute on the event "
        "loop, one at a time; Admission() is for a known number of workers"
    )
