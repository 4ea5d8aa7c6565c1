"""Workers and the queue before them: first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from seawall.testing.simulate.attempt import Job, Stage
from seawall.testing.simulate.engine import Engine


class Workers:
    """Work on requests, ``count`` at a time (None = any number), at a speed that may change.

    ``begin(job)`` says how many seconds of work a request is when its turn comes;
    ``finished(job)`` is called when it is done.
    """

    __slots__ = ("_begin", "_engine", "_finished", "_gone", "_queue", "_running", "_speed", "count")

    def __init__(
        self,
        engine: Engine,
        count: int | None,
        begin: Callable[[Job], float],
        finished: Callable[[Job], None],
    ) -> None:
        self.count = count
        self._engine = engine
        self._begin = begin
        self._finished = finished
        self._speed = 1.0
        self._running: dict[Job, None] = {}
        self._queue: deque[Job] = deque()
        self._gone = 0
        """Those in the queue that have left it: found out when their turn comes."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue) - self._gone

    @property
    def in_flight(self) -> int:
        """Requests in the queue and in the works."""
        return len(self._running) + len(self._queue) - self._gone

    @property
    def stopped(self) -> bool:
        """Whether nothing is done."""
        return self._speed == 0

    @property
    def free(self) -> bool:
        """Whether a request that comes now is begun at once."""
        return self._speed > 0 and (self.count is None or len(self._running) < self.count)

    def put(self, job: Job) -> None:
        """Take a request in."""
        if self.free and not self._queue:
            self._start(job)
        else:
            job.stage = Stage.WAITING
            self._queue.append(job)

    def put_first(self, job: Job) -> None:
        """Take a request in before all that wait."""
        job.stage = Stage.WAITING
        self._queue.appendleft(job)
        self._next()

    def leave(self, job: Job) -> None:
        """A request that waits leaves the queue."""
        job.stage = Stage.OVER
        self._gone += 1

    def clear(self) -> int:
        """Drop all; returns how many there were."""
        count = self.in_flight
        for job in (*self._running, *self._queue):
            job.stage = Stage.OVER
            if job.done is not None:
                job.done.cancel()
                job.done = None
        self._running.clear()
        self._queue.clear()
        self._gone = 0
        return count

    def set_speed(self, speed: float) -> None:
        """Work at ``speed`` times what was meant, from now on, on what is in hand as well; 0 stops
        all."""
        now = self._engine.now
        for job in self._running:
            job.left = max(0.0, job.left - (now - job.since) * self._speed)
            job.since = now
            if job.done is not None:
                job.done.cancel()
                job.done = None
            if speed > 0:
                job.done = self._engine.after(job.left / speed, self._finish, job)
        self._speed = speed
        self._next()

    def _start(self, job: Job) -> None:
        engine = self._engine
        job.stage = Stage.RUNNING
        job.begun = job.since = engine.now
        self._running[job] = None  # it has its worker while it says how much it is
        job.left = self._begin(job)
        job.done = engine.after(job.left / self._speed, self._finish, job)

    def _finish(self, job: Job) -> None:
        del self._running[job]
        job.stage, job.done = Stage.OVER, None  # no cycles: they cost three quarters
        self._finished(job)
        if self._queue:
            self._next()

    def _next(self) -> None:
        """Give free workers what waits."""
        queue = self._queue
        while queue and self.free:
            job = queue.popleft()
            if job.stage is Stage.OVER:
                self._gone -= 1
            else:
                self._start(job)
