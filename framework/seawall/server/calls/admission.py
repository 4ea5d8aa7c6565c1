"""Admission control of one server: the gate before all requests, the queues before some."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any, Final

from grpc import StatusCode

from seawall.admission.gate import Gate, GatePolicy
from seawall.admission.measuring import TURN, Line, Measuring
from seawall.admission.queue import Queue, QueuePolicy, Ticket
from seawall.clock import Clock
from seawall.context import Inbound
from seawall.criticality import DEFAULT, Criticality
from seawall.server.calls.requests import PROBED
from seawall.server.load.probe import Probe
from seawall.server.settings import Settings

PUSHBACKS: Final = (100, 60, 140, 80, 120, 50, 150, 110)
"""gRFC A6: it was not run; try again after so many milliseconds, which are not the same for all,
or else all would be back together. Shorter, and they would meet the same again."""
_PUSHBACKS: Final = cycle([(("grpc-retry-pushback-ms", str(pause)),) for pause in PUSHBACKS])

FREE: Final = Ticket(DEFAULT, 0.0, None)
"""The ticket of requests that no queue counts."""
FREE.admitted = True


class Admission:
    """What stands before the handlers of a server."""

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        self.gate = Gate(GatePolicy(), clock())
        self.measuring = Measuring(self.gate)
        self.refused: Counter[tuple[str, str]] = Counter()
        """Requests refused, by class and reason: ``overload`` (the gate) or ``queue``."""
        self.waited: Callable[[Criticality, float], None] = _ignored
        """Told of each request that was admitted after a wait: its class, and the seconds."""
        self._clock = clock
        self._sheds = settings.shedding is not False
        limit, threads = settings.max_concurrency, settings.threads or 1
        self._shared = None if limit is None else Queue(QueuePolicy(limit))
        self._threaded = Queue(QueuePolicy(threads))
        self._own = {
            "/" + path.lstrip("/"): Queue(QueuePolicy(each))
            for path, each in settings.method_limits.items()
        }
        self._probe: Probe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def door(
        self, path: str, *, threaded: bool = False, stream: bool = False, probed: bool = True
    ) -> Door:
        """What a method's requests pass.

        ``threaded``: its handler needs a thread of the pool, or, if it is a ``stream`` of
        responses, one for each of its steps, which no queue counts. ``probed``: a request is a
        single message, so that probes can be sent to it.
        """
        shared = self._shared if not threaded else None if stream else self._threaded
        door = Door(self, path, self._own.get(path, shared), self._clock)
        if probed:
            self.measuring.add(door)
        return door

    def observe(self, probe: Probe) -> None:
        """Measure with ``probe``, while requests come in."""
        self._probe = probe

    def close(self) -> None:
        """Measure no more. What waits is admitted or refused as before."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    @property
    def queues(self) -> list[Queue]:
        """The queues before handlers."""
        shared = [] if self._shared is None else [self._shared]
        return [*shared, self._threaded, *self._own.values()]

    def waiting(self) -> int:
        """Requests in the queues."""
        return sum(queue.waiting for queue in self.queues)

    def awake(self) -> None:
        """A request has come in: measure, if nothing is measured yet."""
        self.measuring.awake()
        if self._timer is None and not self._closed:
            self._again()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TURN, self._turn)

    def _turn(self) -> None:
        now = self._clock()
        line = self.measuring.turn(now)
        if line is not None and self._probe is not None and self._sheds:
            self._probe.send(line)
        for queue in self.queues:
            queue.sweep(now)
        if self.measuring.idle and not self.waiting():
            self._timer = None
        else:
            self._again()


class Door(Line):
    """The way of one method's requests to their handler."""

    __slots__ = ("_admission", "_clock", "_gate", "_queue")

    def __init__(self, admission: Admission, path: str, queue: Queue | None, clock: Clock) -> None:
        super().__init__(path)
        self._admission = admission
        self._gate = admission.gate
        self._queue = queue
        self._clock = clock

    def enter(self, served: Inbound) -> Ticket | None:
        """A request has come in: its ticket, or None if it is refused."""
        gate, admission = self._gate, self._admission
        if served is PROBED:
            admission.measuring.arrived(self._clock())
            return None
        self.passed += 1
        admission.awake()
        if not gate.shedding:
            gate.arrived(served.criticality)
        elif not gate.admits(served.criticality):
            self._count(served.criticality, "overload")
            return None
        if self._queue is None:
            return FREE
        ticket = self._queue.enter(served.criticality, self._clock(), served.deadline)
        if ticket is None:
            self._count(served.criticality, "queue")
        return ticket

    async def wait(self, ticket: Ticket) -> bool:
        """Wait for a ticket to be admitted; False if it is refused."""
        changed = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not changed.done():
                changed.set_result(None)

        ticket.tell = tell
        try:
            await changed
        except asyncio.CancelledError:
            self.leave(ticket)
            raise
        return self.told(ticket)

    def told(self, ticket: Ticket) -> bool:
        """A ticket that had to wait is admitted or refused: count it. Returns which it is."""
        if ticket.admitted:
            self._admission.waited(ticket.criticality, self._clock() - ticket.arrived)
        else:
            self._count(ticket.criticality, "queue")
        return ticket.admitted

    def leave(self, ticket: Ticket) -> None:
        """A request has ended, well or not."""
        if ticket is not FREE:
            assert self._queue is not None
            self._queue.leave(ticket, self._clock())

    def _count(self, criticality: Criticality, reason: str) -> None:
        self._admission.refused[criticality.name.lower(), reason] += 1


def _ignored(criticality: Criticality, seconds: float) -> None:
    pass


def refuse(context: Any) -> None:
    """End a request that was not run. It costs what an ``abort`` does, and as much as an echo."""
    context.set_code(StatusCode.RESOURCE_EXHAUSTED)
    context.set_details("overloaded: the request was not run")
    context.set_trailing_metadata(next(_PUSHBACKS))
