"""Workers and the queue before them: first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from seawall.testing.simulate.attempt import Attempt, Stage
from seawall.testing.simulate.engine import Engine


class Workers:
    """Work on requests, ``count`` at a time (None = any number), at a speed that may change.

    ``begin(attempt)`` says how many seconds of work a request is when its turn comes;
    ``finished(attempt)`` is called when it is done.
    """

    __slots__ = ("_begin", "_engine", "_finished", "_gone", "_queue", "_running", "_speed", "count")

    def __init__(
        self,
        engine: Engine,
        count: int | None,
        begin: Callable[[Attempt], float],
        finished: Callable[[Attempt], None],
    ) -> None:
        self.count = count
        self._engine = engine
        self._begin = begin
        self._finished = finished
        self._speed = 1.0
        self._running: dict[Attempt, None] = {}
        self._queue: deque[Attempt] = deque()
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
    def free(self) -> bool:
        """Whether a request that comes now is begun at once."""
        return self._speed > 0 and (self.count is None or len(self._running) < self.count)

    def put(self, attempt: Attempt) -> None:
        """Take a request in."""
        if self.free:
            self._start(attempt)
        else:
            attempt.stage = Stage.WAITING
            self._queue.append(attempt)

    def put_first(self, attempt: Attempt) -> None:
        """Take a request in before all that wait."""
        attempt.stage = Stage.WAITING
        self._queue.appendleft(attempt)
        self._next()

    def leave(self, attempt: Attempt) -> None:
        """A request that waits leaves the queue."""
        attempt.stage = Stage.OVER
        self._gone += 1

    def clear(self) -> int:
        """Drop all; returns how many there were."""
        count = self.in_flight
        for attempt in (*self._running, *self._queue):
            attempt.stage = Stage.OVER
            if attempt.done is not None:
                attempt.done.cancel()
                attempt.done = None
        self._running.clear()
        self._queue.clear()
        self._gone = 0
        return count

    def set_speed(self, speed: float) -> None:
        """Work at ``speed`` times what was meant, from now on, on what is in hand as well; 0 stops
        all."""
        now = self._engine.now
        for attempt in self._running:
            attempt.left = max(0.0, attempt.left - (now - attempt.since) * self._speed)
            attempt.since = now
            if attempt.done is not None:
                attempt.done.cancel()
                attempt.done = None
            if speed > 0:
                attempt.done = self._engine.after(attempt.left / speed, self._finish, attempt)
        self._speed = speed
        self._next()

    def _start(self, attempt: Attempt) -> None:
        engine = self._engine
        attempt.stage = Stage.RUNNING
        attempt.begun = attempt.since = engine.now
        attempt.left = self._begin(attempt)
        self._running[attempt] = None
        attempt.done = engine.after(attempt.left / self._speed, self._finish, attempt)

    def _finish(self, attempt: Attempt) -> None:
        del self._running[attempt]
        attempt.stage, attempt.done = Stage.OVER, None  # no cycles: they cost three quarters
        self._finished(attempt)
        if self._queue:
            self._next()

    def _next(self) -> None:
        """Give free workers what waits."""
        queue = self._queue
        while queue and self.free:
            attempt = queue.popleft()
            if attempt.stage is Stage.OVER:
                self._gone -= 1
            else:
                self._start(attempt)
