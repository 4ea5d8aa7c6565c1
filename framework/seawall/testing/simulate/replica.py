"""A replica of the service, and what can be wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from grpc import StatusCode

from seawall.admission.queue import Queue, Ticket
from seawall.call import JSON
from seawall.server.load.meter import Meter
from seawall.testing.simulate.admission import Admission
from seawall.testing.simulate.attempt import Attempt, Reported, Stage
from seawall.testing.simulate.connection import Connection
from seawall.testing.simulate.distributions import Distribution, fixed
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.result import Tally
from seawall.testing.simulate.workers import Workers


@dataclass(frozen=True, slots=True)
class _Failing:
    code: StatusCode
    after: float
    share: float


class Replica:
    """One running copy of the simulated service.

    service_time: seconds of a worker that a request takes, or a distribution to draw them from
        (``fixed``, ``gamma``, ``lognormal``).
    workers: requests worked on at a time; None = any number, as with handlers that only wait.
    queue: requests that may wait for a worker; more are refused (RESOURCE_EXHAUSTED). None = any.
    drop_expired: what its client has given up leaves the queue; if not, it is worked on for
        nobody.
    admission: refuse what would wait too long; None = never.
    metadata: its facts in the registry, such as ``{"weight": 2, "zone": "a"}``.

    What may happen to it are methods, to be called at their time by ``Fleet.at``.
    """

    def __init__(
        self,
        service_time: float | Distribution = 0.005,
        *,
        workers: int | None = None,
        queue: int | None = None,
        drop_expired: bool = True,
        admission: Admission | None = None,
        metadata: Mapping[str, JSON] | None = None,
        name: str = "",
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be 1 or more, or None, not {workers}")
        if queue is not None and queue < 0:
            raise ValueError(f"queue must be 0 or more, or None, not {queue}")
        self.name = name
        self.metadata: Mapping[str, JSON] = metadata or {}
        self.tally = Tally()
        self.is_dead = False
        self.is_frozen = False
        self.freezes = 0
        """How often it has been frozen."""
        self._draw = service_time if callable(service_time) else fixed(service_time)
        self._queue = queue
        self._drop_expired = drop_expired
        self._admission = admission
        self._speed = 1.0
        self._failing: _Failing | None = None
        self._connections: list[Connection] = []
        self._engine = Engine()
        self._door = self._new_door(workers)
        self._held: list[Attempt] = []
        """What has come in while it is frozen."""
        self._random = Random(0)
        self._workers = Workers(self._engine, workers, self._begin, self._finished)
        self._meter = self._new_meter()
        self._taken = False

    def __repr__(self) -> str:
        state = "dead" if self.is_dead else "frozen" if self.is_frozen else f"x{self._speed:g}"
        return f"<Replica {self.name} {state} in_flight={self.in_flight}>"

    def join(self, engine: Engine, random: Random) -> None:
        """Live in ``engine``'s time; the fleet does that. Raises ValueError if it has a fleet."""
        if self._taken:
            raise ValueError(f"{self.name} is in a fleet already; each fleet needs its own")
        self._taken = True
        self._engine, self._random = engine, random
        self._meter = self._new_meter()
        self._workers = Workers(engine, self._workers.count, self._begin, self._finished)
        self._workers.set_speed(0.0 if self.is_frozen else self._speed)

    def connect(self, connection: Connection) -> None:
        """A client wants to be connected, and to know when that is no longer so."""
        self._connections.append(connection)

    @property
    def in_flight(self) -> int:
        """Requests that it works on or that wait."""
        waiting = 0 if self._door is None else self._door.waiting
        return self._workers.in_flight + waiting + len(self._held)

    # --- what may happen to it ------------------------------------------------------------

    def slow(self, factor: float) -> None:
        """Take ``factor`` times as long from now on, for what is in hand as well; 1 = as built."""
        if not factor > 0:
            raise ValueError(f"factor must be above 0, not {factor!r}; freeze() stops it")
        self.speed(1.0 / factor)

    def speed(self, factor: float) -> None:
        """Work at ``factor`` of its built speed from now on: 0.3 is a brown-out to 30 %."""
        if not factor > 0:
            raise ValueError(f"speed must be above 0, not {factor!r}; freeze() stops it")
        self._speed = factor
        if not self.is_frozen:
            self._workers.set_speed(factor)

    def freeze(self) -> None:
        """Do nothing until ``thaw``, as a process that is stopped: its connections stay open and
        take requests in, until their keep-alive finds out."""
        if self.is_frozen or self.is_dead:
            return
        self.is_frozen = True
        self.freezes += 1
        self._workers.set_speed(0.0)
        for connection in self._connections:
            connection.frozen()

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        if self.is_frozen:
            self.is_frozen = False
            self._workers.set_speed(self._speed)
            held, self._held = self._held, []
            for attempt in held:
                self._take(attempt)

    def fail(
        self, code: str | StatusCode = "UNAVAILABLE", after: float = 0.001, share: float = 1.0
    ) -> None:
        """Answer this ``share`` of the requests with ``code``, after that many seconds of work."""
        code = code if isinstance(code, StatusCode) else StatusCode[code]
        self._failing = _Failing(code, after, share)

    def heal(self) -> None:
        """Answer as built again after ``fail``."""
        self._failing = None

    def kill(self) -> None:
        """Die: what is in hand fails with UNAVAILABLE, and connections are refused."""
        if self.is_dead:
            return
        self.is_dead, self.is_frozen = True, False
        self.tally.lost += self.in_flight
        self._workers.clear()
        self._held.clear()
        self._door = self._new_door(self._workers.count)
        for connection in self._connections:
            connection.reset()

    def restart(self) -> None:
        """Be there again after ``kill``, as built."""
        if self.is_dead:
            self.is_dead = False
            self.heal()
            self._meter = self._new_meter()
            self.speed(1.0)

    def recover(self) -> None:
        """Be well again, whatever was wrong."""
        self.restart()
        self.heal()
        self.thaw()
        self.speed(1.0)

    # --- requests -------------------------------------------------------------------------

    def arrive(self, attempt: Attempt) -> None:
        """A request has come in."""
        if self.is_dead or attempt.stage is Stage.OVER:
            return  # its connection is gone, and the client learns that from there
        self.tally.arrived += 1
        attempt.arrived = self._engine.now
        if self._door is not None and self.is_frozen:
            self._held.append(attempt)
        else:
            self._take(attempt)

    def forget(self, attempt: Attempt, *, lost: bool = False) -> None:
        """The client has given a request up; ``lost``: its connection broke."""
        if attempt.stage is Stage.WAITING and self._drop_expired:
            if attempt.ticket is None:
                self._workers.leave(attempt)
                self._meter.end(attempt.arrived, failed=True)
            else:
                attempt.stage = Stage.OVER
            self._leave(attempt)
            self.tally.dropped += 1
        elif lost and attempt.stage is Stage.UNDER_WAY:
            attempt.stage = Stage.OVER

    def _take(self, attempt: Attempt) -> None:
        """Decide about a request: work on it, have it wait, or refuse it."""
        workers, door = self._workers, self._door
        full = self._queue is not None and self.in_flight >= (workers.count or 0) + self._queue
        if workers.count is not None and not workers.free and full and not self.is_frozen:
            self._refuse(attempt)
            return
        if door is None:
            self._begin_work(attempt)
            return
        ticket = door.enter(attempt.criticality, self._engine.now, attempt.expiry)
        if ticket is None:
            self._refuse(attempt)
        elif ticket.admitted:
            attempt.ticket = ticket
            self._begin_work(attempt)
        else:
            attempt.ticket, attempt.stage = ticket, Stage.WAITING
            ticket.tell = partial(self._told, attempt, ticket)

    def _told(self, attempt: Attempt, ticket: Ticket) -> None:
        """A request that waited is admitted, or has waited too long."""
        if attempt.stage is Stage.OVER:
            self._leave(attempt)
        elif ticket.admitted:
            self._begin_work(attempt)
        else:
            attempt.ticket = None
            self._refuse(attempt)

    def _begin_work(self, attempt: Attempt) -> None:
        self._meter.begin()
        self._workers.put(attempt)

    def _leave(self, attempt: Attempt) -> None:
        ticket, attempt.ticket = attempt.ticket, None
        if ticket is not None and self._door is not None:
            self._door.leave(ticket, self._engine.now)

    def _refuse(self, attempt: Attempt) -> None:
        self.tally.refused += 1
        admission = self._admission or Admission()
        attempt.refusal = admission.cost
        attempt.failure = Reported(
            StatusCode.RESOURCE_EXHAUSTED, f"{self.name} is overloaded", pushback=admission.pushback
        )
        if admission.cost:
            self._meter.begin()
            self._workers.put_first(attempt)
        else:
            attempt.stage = Stage.OVER
            self._answer(attempt)

    def _begin(self, attempt: Attempt) -> float:
        """How many seconds of work a request is."""
        if attempt.refusal:
            return attempt.refusal
        failing = self._failing
        if failing is not None and self._random.random() < failing.share:
            attempt.failure = Reported(failing.code, f"{self.name} fails")
            return failing.after
        return self._draw(self._random)

    def _finished(self, attempt: Attempt) -> None:
        failure, tally = attempt.failure, self.tally
        worked = self._engine.now - attempt.begun
        tally.busy += worked
        self._meter.end(attempt.arrived, failed=failure is not None)
        if failure is None:
            tally.answered += 1
        elif not attempt.refusal:
            tally.failed += 1
        self._leave(attempt)
        self._answer(attempt)

    def _answer(self, attempt: Attempt) -> None:
        if attempt.over:
            return  # nobody waits for it
        failure = attempt.failure
        if attempt.asks_load:
            attempt.load = self._meter.report()
            if failure is not None:
                failure.load = attempt.load
        attempt.connection.reply(attempt, failure)

    def _new_door(self, workers: int | None) -> Queue | None:
        if self._admission is None or workers is None:
            return None
        return self._admission.queue(workers)

    def _new_meter(self) -> Meter:
        """What the production server counts its requests with; its CPU is the workers' time."""
        return Meter(self._engine, self._cpu_time, self._waiting)

    def _waiting(self) -> int:
        return 0 if self._door is None else self._door.waiting

    def _cpu_time(self) -> float:
        return self.tally.busy / (self._workers.count or math.inf)
