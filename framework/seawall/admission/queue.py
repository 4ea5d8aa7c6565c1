"""The queue before workers whose number is known: who waits, who is refused, who is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from seawall.admission.estimate import TARGETS, WaitEstimate
from seawall.criticality import Criticality

_PATIENCE: Final = 2.0
"""Times its target that a request waits at most, if what was estimated turns out wrong."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many requests are worked on at a time, and how long others may wait."""

    limit: int
    """Requests at a time."""
    targets: Mapping[Criticality, float] = field(default_factory=lambda: TARGETS)
    """Seconds of estimated wait above which a request of a class is refused."""
    longest: int = 1000
    """Requests that may wait, whatever the estimate says: it bounds the memory."""


class Ticket:
    """A request's place: ``admitted`` at once or later, or out of the queue again."""

    __slots__ = ("admitted", "arrived", "begun", "criticality", "expires", "over", "tell")

    def __init__(self, criticality: Criticality, arrived: float, expires: float | None) -> None:
        self.criticality = criticality
        self.arrived = arrived
        self.expires = expires
        """When its caller gives up; None = never."""
        self.admitted = False
        self.over = False
        """It has left the queue, or has been refused."""
        self.begun = 0.0
        self.tell: Callable[[], None] | None = None
        """Called when a ticket that waited is admitted or refused. It must not raise."""


class Queue:
    """A limit of requests at a time, and four queues before it, one for each class.

    Who waits is admitted in the order of classes, and in the order of arrival within one. What
    has expired is never begun.
    """

    __slots__ = ("_estimate", "_gone", "_lanes", "_policy", "running")

    def __init__(self, policy: QueuePolicy) -> None:
        self._policy = policy
        self.running = 0
        """Requests being worked on."""
        self._lanes: list[deque[Ticket]] = [deque() for _ in Criticality]
        self._gone = [0] * len(Criticality)
        """Tickets in each lane that are over: found out when their turn comes."""
        self._estimate = WaitEstimate()

    @property
    def limit(self) -> int:
        """Requests at a time."""
        return self._policy.limit

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(map(len, self._lanes)) - sum(self._gone)

    def estimate(self, criticality: Criticality) -> float:
        """Seconds that a request of that class would wait now."""
        if self.running < self._policy.limit:
            return 0.0
        before = sum(
            len(self._lanes[each]) - self._gone[each]
            for each in range(criticality, len(self._lanes))
        )
        return self._estimate.wait(before, self._policy.limit)

    def enter(self, criticality: Criticality, now: float, expires: float | None) -> Ticket | None:
        """A request has come in: its ticket, ``admitted`` or waiting; None = it is refused."""
        ticket = Ticket(criticality, now, expires)
        if self.running < self._policy.limit:
            self._begin(ticket, now)
            return ticket
        wait = self.estimate(criticality)
        if wait > self._policy.targets[criticality] or self.waiting >= self._policy.longest:
            return None
        if expires is not None and now + wait + self._estimate.service_time >= expires:
            return None
        self._lanes[criticality].append(ticket)
        return ticket

    def leave(self, ticket: Ticket, now: float) -> None:
        """A request has ended, or is no longer waited for. Others move up."""
        if ticket.over:
            return
        ticket.over = True
        if not ticket.admitted:
            self._gone[ticket.criticality] += 1
            return
        self.running -= 1
        self._estimate.observe(now - ticket.begun)
        self._move_up(now)

    def sweep(self, now: float) -> None:
        """Refuse those who have waited too long. To be called now and then while some wait."""
        for each, lane in enumerate(self._lanes):
            for ticket in lane:
                if not ticket.over and self._overdue(ticket, now):
                    self._refuse(ticket)
            while lane and lane[0].over:
                lane.popleft()
                self._gone[each] -= 1

    def _move_up(self, now: float) -> None:
        for each in reversed(Criticality):
            lane = self._lanes[each]
            while lane and self.running < self._policy.limit:
                ticket = lane.popleft()
                if ticket.over:
                    self._gone[each] -= 1
                elif self._overdue(ticket, now):
                    self._refuse(ticket)
                    self._gone[each] -= 1
                else:
                    self._begin(ticket, now)
                    if ticket.tell is not None:
                        ticket.tell()

    def _overdue(self, ticket: Ticket, now: float) -> bool:
        longest = _PATIENCE * self._policy.targets[ticket.criticality]
        late = ticket.expires is not None and now >= ticket.expires
        return late or now - ticket.arrived > longest

    def _refuse(self, ticket: Ticket) -> None:
        ticket.over = True
        self._gone[ticket.criticality] += 1
        if ticket.tell is not None:
            ticket.tell()

    def _begin(self, ticket: Ticket, now: float) -> None:
        self.running += 1
        ticket.admitted = True
        ticket.begun = now
