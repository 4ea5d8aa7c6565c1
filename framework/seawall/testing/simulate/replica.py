"""A replica of the service, and what may happen to it; ``intake`` is how it takes requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from grpc import StatusCode

from seawall.call import JSON
from seawall.testing.simulate.admission import Admission, Shedding
from seawall.testing.simulate.attempt import Attempt, Reported, Stage
from seawall.testing.simulate.connection import Connection
from seawall.testing.simulate.distributions import Distribution, fixed
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.event_loop import EventLoop
from seawall.testing.simulate.intake import Intake, Post, Queued, Terms
from seawall.testing.simulate.result import Tally


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
    admission: refuse what would wait too long; None = never. ``Admission()`` is for a number of
        workers that is known, ``Shedding()`` for handlers that compute on the event loop.
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
        admission: Admission | Shedding | None = None,
        metadata: Mapping[str, JSON] | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.metadata: Mapping[str, JSON] = metadata or {}
        self.tally = Tally()
        self.is_dead = False
        self.is_frozen = False
        self.freezes = 0
        """How often it has been frozen."""
        self._draw = service_time if callable(service_time) else fixed(service_time)
        self._terms = Terms(workers, queue, drop_expired, admission)
        self._speed = 1.0
        self._failing: _Failing | None = None
        self._connections: list[Connection] = []
        self._engine = Engine()
        self._random = Random(0)
        self._taken = False
        self._begin_intake()

    def __repr__(self) -> str:
        state = "dead" if self.is_dead else "frozen" if self.is_frozen else f"x{self._speed:g}"
        return f"<Replica {self.name} {state} in_flight={self.in_flight}>"

    def join(self, engine: Engine, random: Random) -> None:
        """Live in ``engine``'s time; the fleet does that. Raises ValueError if it has a fleet."""
        if self._taken:
            raise ValueError(f"{self.name} is in a fleet already; each fleet needs its own")
        self._taken = True
        self._engine, self._random = engine, random
        self._begin_intake()

    def connect(self, connection: Connection) -> None:
        """A client wants to be connected, and to know when that is no longer so."""
        self._connections.append(connection)

    @property
    def in_flight(self) -> int:
        """Requests that it works on or that wait."""
        return self._intake.in_flight

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
            self._intake.set_speed(factor)

    def freeze(self) -> None:
        """Do nothing until ``thaw``, as a process that is stopped: its connections stay open and
        take requests in, until their keep-alive finds out."""
        if self.is_frozen or self.is_dead:
            return
        self.is_frozen = True
        self.freezes += 1
        self._intake.set_speed(0.0)
        for connection in self._connections:
            connection.frozen()

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        if self.is_frozen:
            self.is_frozen = False
            self._intake.set_speed(self._speed)

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
        self.tally.lost += self._intake.clear()
        for connection in self._connections:
            connection.reset()

    def restart(self) -> None:
        """Be there again after ``kill``, as built."""
        if self.is_dead:
            self.is_dead = False
            self.heal()
            self._speed = 1.0
            self._begin_intake()

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
        self._intake.take(attempt)

    def forget(self, attempt: Attempt, *, lost: bool = False) -> None:
        """The client has given a request up; ``lost``: its connection broke."""
        if attempt.stage is Stage.WAITING:
            self._intake.forget(attempt)
        elif lost and attempt.stage is Stage.UNDER_WAY:
            attempt.stage = Stage.OVER

    def _work(self, attempt: Attempt) -> float:
        """How many seconds of work a request is."""
        failing = self._failing
        if failing is not None and self._random.random() < failing.share:
            attempt.failure = Reported(failing.code, f"{self.name} fails")
            return failing.after
        return self._draw(self._random)

    def _begin_intake(self) -> None:
        """Take requests as a process does that has just started."""
        terms, post = self._terms, Post(self._engine, self.name, self.tally, self._work)
        admission = terms.admission
        if isinstance(admission, Shedding):
            self._intake: Intake = EventLoop(terms, post)
        elif admission is not None and terms.workers is not None:
            self._intake = Queued(terms, post, admission.queue(terms.workers))
        else:
            self._intake = Intake(terms, post)
        self._intake.set_speed(0.0 if self.is_frozen else self._speed)
