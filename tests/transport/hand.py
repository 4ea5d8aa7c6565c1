"""The production driver with nothing below it: a test says when attempts end, and timers ring."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from grpc import StatusCode

from seawall.call import Call, Failure, Success
from seawall.policy.plan import Await, Plan, Run
from seawall.transport.driver import Driver


class Attempt:
    """An attempt under way; what it comes to is said by ``HandDriver.end``."""

    def __init__(self, driver: HandDriver) -> None:
        self.driver = driver
        self.endpoint = driver.call.endpoint
        self.code: StatusCode | None = None

    def cancel(self) -> None:
        if self.code is None:
            self.code = StatusCode.CANCELLED
            self.driver._attempt_done(self)  # as gRPC does, at once


class Job:
    """A timer, or a function of the user's at work."""

    def __init__(self, do: Callable[..., None]) -> None:
        self.do = do
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandDriver(Driver):
    """Attempts, timers and the user's functions, each ended by hand."""

    def __init__(self, call: Call, plan: Plan) -> None:
        limits = SimpleNamespace(cancel=lambda alarm: None)
        super().__init__(Bound(limits), call, plan, None, {}, ())
        self.call = call
        self.attempts: list[Attempt] = []
        self.timer: Job | None = None
        self.job: tuple[Job, Run] | None = None
        self.ends = 0
        """How often it has told of its end."""

    @property
    def open(self) -> list[Attempt]:
        """The attempts that have not ended."""
        return [attempt for attempt in self.attempts if attempt.code is None]

    def start(self) -> HandDriver:
        self._step(None)
        return self

    def end(self, attempt: Attempt, code: StatusCode = StatusCode.OK) -> None:
        """An attempt is answered."""
        assert attempt.code is None
        attempt.code = code
        self._attempt_done(attempt)

    def ring(self) -> None:
        """The limit of the attempt in hand has passed."""
        if self._alarm is not None:
            self._alarm = None
            self._give_up()

    def wait(self) -> None:
        """What the plan waits for has come."""
        timer, self.timer = self.timer, None
        if timer is not None and not timer.cancelled:
            timer.do()

    def run(self) -> None:
        """The user's function has returned, if one is at work."""
        if self.job is None:
            return
        (job, effect), self.job = self.job, None
        if not job.cancelled:
            self._running = None
            try:
                answer: Any = Success(effect.function(*effect.arguments))
            except Exception as error:
                answer = Failure(StatusCode.UNKNOWN, repr(error), error=error)
            self._step(answer)

    # --- what a driver does in its own way ----------------------------------------------------

    def _begin(self, make: Any, timeout: float | None, metadata: Any) -> Attempt:
        self.attempts.append(Attempt(self))
        return self.attempts[-1]

    def _code_of(self, inner: Attempt) -> StatusCode:
        assert inner.code is not None
        return inner.code

    def _failure_of(self, inner: Attempt, code: StatusCode, stayed: bool) -> Failure:
        return Failure(code, "told to fail")

    def _later(self, seconds: float, do: Callable[[], None]) -> Job:
        self.timer = Job(do)
        return self.timer

    def _set_alarm(self, due: float) -> None:
        self._alarm = object()  # type: ignore[assignment]

    def _await(self, effect: Await) -> None:
        self._timer = self._later(effect.seconds, self._changed)
        if effect.on is not None:
            self._parked = effect.on
            effect.on.wait(self, lambda: None)  # whoever steps it looks at each in turn

    def _start(self, effect: Run) -> Job:
        job = Job(lambda: None)
        self.job = job, effect
        return job

    def _tell_begun(self) -> None:
        pass

    def _tell_end(self) -> None:
        self.ends += 1


class Bound:
    """What a driver needs of a bound method."""

    def __init__(self, limits: Any) -> None:
        self.limits = limits
        self.active: set[Any] = set()
