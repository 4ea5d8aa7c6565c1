"""Admission control of one server: the gate before all requests, the queues before some."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any, Final

from grpc import StatusCode

from seawall.admission.gate import WINDOW, Gate, GatePolicy
from seawall.admission.queue import Queue, QueuePolicy, Ticket
from seawall.clock import Clock
from seawall.context import Inbound
from seawall.criticality import DEFAULT, Criticality
from seawall.server.calls.requests import PROBED
from seawall.server.load.probe import Probe
from seawall.server.settings import Settings

_PROBES: Final = 2
"""In a window of the gate, once requests have to wait; one before."""
_REST: Final = 2
"""Windows without a request after which nothing is measured until the next one."""
_REQUESTS: Final = 10
"""A probe goes out after so many requests, so that it costs little of what they cost."""
_SUSPICIOUS: Final = 0.005
"""Seconds of waiting from which on probes go out however few requests there are."""

_PUSHBACKS: Final = cycle(
    [(("grpc-retry-pushback-ms", str(pause)),) for pause in (100, 60, 140, 80, 120, 50, 150, 110)]
)
"""gRFC A6: it was not run; try again after so many milliseconds, which are not the same for all,
or else all would be back together. Shorter, and they would meet the same again."""

FREE: Final = Ticket(DEFAULT, 0.0, None)
"""The ticket of requests that no queue counts."""
FREE.admitted = True


class Admission:
    """What stands before the handlers of a server."""

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        self.gate = Gate(GatePolicy(), clock())
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
        self._turns = 0
        self._last = 0
        self._doors: list[Door] = []
        self._probed: Door | None = None
        self._before = 0
        """Requests that the probed method had had when the probe was sent."""
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
            self._doors.append(door)
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
        self._last = self._turns
        if self._timer is None and not self._closed:
            self._again()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(WINDOW / _PROBES, self._turn)

    def _turn(self) -> None:
        self._turns += 1
        gate, now = self.gate, self._clock()
        if self._probe is not None and self._sheds:
            self._measure(self._probe)
        for queue in self.queues:
            queue.sweep(now)
        if self._turns % _PROBES == 0:
            gate.turn(now)
        if gate.shedding or self.waiting() or self._turns - self._last < _REST * _PROBES:
            self._again()
        else:
            self._timer = None

    def _measure(self, probe: Probe) -> None:
        """Learn from the probe, and send it to the method that has most to do."""
        under_way, wait = probe.under_way, probe.take()
        if wait is not None and self._probed is not None:
            behind = self._probed.passed - self._before
            self.gate.waited(wait, behind, arrived=not under_way)
        suspicious = self.gate.shedding or (wait or 0.0) > _SUSPICIOUS
        busiest = max(self._doors, key=_unprobed, default=None)
        due = self._turns % _PROBES == 0 and busiest is not None and _unprobed(busiest) >= _REQUESTS
        if busiest is None or not (suspicious or due):
            return
        if probe.send(busiest.path):
            self._probed, self._before = busiest, busiest.passed
            for door in self._doors:
                door.known = door.passed

    def probe_arrived(self) -> None:
        """The probe has come to a door."""
        if self._probe is not None:
            self._probe.arrived()


def _unprobed(door: Door) -> int:
    """Requests that have come since the last probe."""
    return door.passed - door.known


class Door:
    """The way of one method's requests to their handler."""

    __slots__ = ("_admission", "_clock", "_gate", "_queue", "known", "passed", "path")

    def __init__(self, admission: Admission, path: str, queue: Queue | None, clock: Clock) -> None:
        self.path = path
        self.passed = 0
        """Requests that have come."""
        self.known = 0
        """Those of them that had come when the last probe was sent."""
        self._admission = admission
        self._gate = admission.gate
        self._queue = queue
        self._clock = clock

    def enter(self, served: Inbound) -> Ticket | None:
        """A request has come in: its ticket, or None if it is refused."""
        gate, admission = self._gate, self._admission
        if served is PROBED:
            admission.probe_arrived()
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
