"""How a replica takes requests: who works on them, and who refuses them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from grpc import StatusCode

from seawall.admission.queue import Queue, Ticket
from seawall.server.load.meter import Meter
from seawall.testing.simulate.admission import Admission, Shedding, unfit
from seawall.testing.simulate.attempt import Attempt, Job, Reported, Stage
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.result import Tally
from seawall.testing.simulate.workers import Workers


@dataclass(frozen=True, slots=True)
class Terms:
    """What a replica was built with, as ``Replica`` explains it."""

    workers: int | None
    queue: int | None
    drop_expired: bool
    admission: Admission | Shedding | None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be 1 or more, or None, not {self.workers}")
        if self.queue is not None and self.queue < 0:
            raise ValueError(f"queue must be 0 or more, or None, not {self.queue}")
        if problem := unfit(self.workers, self.admission):
            raise ValueError(problem)


@dataclass(frozen=True, slots=True)
class Post:
    """Where requests are taken, and for whom."""

    engine: Engine
    name: str
    """Of the replica."""
    tally: Tally
    work: Callable[[Attempt], float]
    """Says how many seconds of work a request is, and sets its ``failure`` if it is to fail."""


class Intake:
    """Has workers do what comes in, as it comes; refuses only what a full queue has no room for."""

    def __init__(self, terms: Terms, post: Post) -> None:
        engine = post.engine
        self._terms = terms
        self._post = post
        self._engine = engine
        self._tally = post.tally
        self._workers = Workers(engine, terms.workers, self._begin, self._finished)
        # What the production server counts its requests with; its CPU is the workers' time.
        self._meter = Meter(engine, self._cpu_time, self._waiting)
        self._refusals = terms.admission or Admission()
        self._pushbacks = _endless(self._refusals.pushback)

    @property
    def in_flight(self) -> int:
        """Requests that are worked on or wait."""
        return self._workers.in_flight

    def take(self, attempt: Attempt) -> None:
        """A request has come in: have it worked on, have it wait, or refuse it."""
        if self._terms.queue is not None and self._is_full(self._terms.queue):
            self._refuse(attempt)
        else:
            self._enter(attempt)

    def forget(self, attempt: Attempt) -> None:
        """The client has given up a request: what waits leaves, unless nobody looks."""
        if attempt.stage is not Stage.WAITING or not self._terms.drop_expired:
            return
        self._workers.leave(attempt)
        self._dropped(attempt)

    def set_speed(self, speed: float) -> None:
        """Work at ``speed`` times what was meant from now on; 0: the process is stopped."""
        self._workers.set_speed(speed)

    def clear(self) -> int:
        """The process dies, with what it has; returns how many requests that is."""
        count = self.in_flight
        self._workers.clear()
        return count

    def _is_full(self, queue: int) -> bool:
        workers = self._workers
        if workers.count is None or workers.free or workers.stopped:
            return False
        return self.in_flight >= workers.count + queue

    def _enter(self, attempt: Attempt) -> None:
        self._count(attempt)
        self._workers.put(attempt)

    def _dropped(self, attempt: Attempt) -> None:
        self._uncount(attempt, failed=True)
        self._leave(attempt)
        self._tally.dropped += 1

    def _leave(self, attempt: Attempt) -> None:
        """A request has ended, and makes room."""

    def _waiting(self) -> int:
        """Requests that wait for admission."""
        return 0

    def _refuse(self, attempt: Attempt) -> None:
        """Refuse a request before it waits with the others."""
        cost = self._refused(attempt)
        if cost:
            self._workers.put_first(attempt)
        else:
            attempt.stage = Stage.OVER
            self._tally.refused += 1
            self._answer(attempt)

    def _refused(self, attempt: Attempt) -> float:
        """What it is answered with; returns the seconds of work that this takes."""
        attempt.refusal = self._refusals.cost
        attempt.failure = Reported(
            StatusCode.RESOURCE_EXHAUSTED,
            f"{self._post.name} is overloaded",
            pushback=next(self._pushbacks),
        )
        return attempt.refusal

    def _begin(self, job: Job) -> float:
        """How many seconds of work it is."""
        assert isinstance(job, Attempt), "there is nothing else to do"
        return self._post.work(job) if job.refusal is None else job.refusal

    def _finished(self, job: Job) -> None:
        tally = self._tally
        tally.busy += self._engine.now - job.begun
        assert isinstance(job, Attempt), "there is nothing else to do"
        failure = job.failure
        self._uncount(job, failed=failure is not None)
        if failure is None:
            tally.answered += 1
        elif job.refusal is None:
            tally.failed += 1
        else:
            tally.refused += 1
        self._leave(job)
        self._answer(job)

    def _answer(self, attempt: Attempt) -> None:
        if attempt.over:
            return  # nobody waits for it
        failure = attempt.failure
        if attempt.asks_load:
            attempt.load = self._meter.report()
            if failure is not None:
                failure.load = attempt.load
        attempt.connection.reply(attempt, failure)

    def _count(self, attempt: Attempt) -> None:
        """Its handler begins."""
        attempt.counted = self._meter.begin()

    def _uncount(self, attempt: Attempt, *, failed: bool) -> None:
        if attempt.counted is not None:
            self._meter.end(attempt.counted, failed=failed)

    def _cpu_time(self) -> float:
        return self._tally.busy / (self._workers.count or math.inf)


class Queued(Intake):
    """Has requests wait in the queue of a server with ``max_concurrency``."""

    def __init__(self, terms: Terms, post: Post, door: Queue) -> None:
        self._door = door
        self._at_door: dict[Attempt, None] = {}
        """What waits there."""
        self._held: list[Attempt] = []
        """What has come in while the process is stopped."""
        super().__init__(terms, post)

    @property
    def in_flight(self) -> int:
        return self._workers.in_flight + len(self._at_door) + len(self._held)

    def forget(self, attempt: Attempt) -> None:
        if attempt not in self._at_door:
            super().forget(attempt)
        elif self._terms.drop_expired:
            del self._at_door[attempt]
            attempt.stage = Stage.OVER
            self._dropped(attempt)

    def set_speed(self, speed: float) -> None:
        super().set_speed(speed)
        if speed > 0:
            held, self._held = self._held, []
            for attempt in held:
                self.take(attempt)

    def clear(self) -> int:
        count = super().clear()
        for attempt in self._at_door:
            attempt.stage = Stage.OVER
        self._at_door.clear()
        self._held.clear()
        return count

    def _enter(self, attempt: Attempt) -> None:
        if self._workers.stopped:
            self._held.append(attempt)
            return
        ticket = self._door.enter(attempt.criticality, self._engine.now, attempt.expiry)
        if ticket is None:
            self._refuse(attempt)
            return
        attempt.ticket = ticket
        if ticket.admitted:
            super()._enter(attempt)
        else:
            attempt.stage = Stage.WAITING
            self._at_door[attempt] = None
            ticket.tell = partial(self._told, attempt, ticket)

    def _told(self, attempt: Attempt, ticket: Ticket) -> None:
        """A request that waited is admitted, or has waited too long."""
        del self._at_door[attempt]
        if ticket.admitted:
            super()._enter(attempt)
        else:
            attempt.ticket = None
            self._refuse(attempt)

    def _leave(self, attempt: Attempt) -> None:
        ticket, attempt.ticket = attempt.ticket, None
        if ticket is not None:
            self._door.leave(ticket, self._engine.now)

    def _waiting(self) -> int:
        return len(self._at_door)


def _endless(pushback: float | Sequence[float] | None) -> Iterator[float | None]:
    return cycle((pushback or (None,)) if isinstance(pushback, Sequence) else (pushback,))
