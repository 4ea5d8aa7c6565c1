"""The sync driver: it performs a plan's effects on threads, under its service's lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from grpc import StatusCode

from seawall.call import Failure, Outcome
from seawall.policy.plan import Run
from seawall.transport.attempting import CANCELLED, OUTRUN, Cancellable, Items
from seawall.transport.sync import processes
from seawall.transport.sync.attempts import Attempt, Blocking, Managed
from seawall.transport.sync.reading import READING
from seawall.transport.sync.stepping import Stepping
from seawall.transport.sync.timers import Alarm
from seawall.transport.sync.twin import Twin
from seawall.transport.sync.user_code import answer_of, call_back

_answering: Final = ContextVar("seawall_answering", default=False)
"""Whether this code is a fallback at work on a thread of the pool, which may wait for its calls."""


class Limit(Alarm):
    """The time that one attempt may take."""

    __slots__ = ("_attempt", "_driver")

    def __init__(self, driver: SyncDriver, attempt: Attempt) -> None:
        self._driver = driver
        self._attempt = attempt

    def ring(self) -> None:
        self._driver.enter(self._driver._overdue, self._attempt)


class SyncDriver(Stepping):
    """One call under way."""

    channel: Any = None
    """Kept from being collected, and so closed, while there is the call."""
    _job: Blocking | Run | None = None
    """What the caller's thread is to do next."""

    def __init__(self, first: Any, bound: Any, *facts: Any) -> None:
        super().__init__(bound, *facts)
        self._first = first

    # --- driving ------------------------------------------------------------------------------

    def drive(self) -> Outcome:
        """Carry the call from its beginning to its end on this thread."""
        self._drives = True
        job: Blocking | Run | None = None
        try:
            self._enter_here(self._begin_plan)
            while self._outcome is None:
                job, self._job = self._job, None
                if type(job) is Blocking:
                    job.run()
                    self._enter_here(self._end_of, job)
                elif type(job) is Run:
                    self._enter_here(self._ran, job, answer_of(job))
                elif self._inbox:
                    self._enter_here(self._inbox.popleft())
                else:
                    self._wait_for_work()
        except BaseException:
            self._interrupted(job)
            raise
        return self._outcome

    def begin(self) -> None:
        """Begin the call; it goes on by itself."""
        try:
            self.enter(self._begin_plan)
        except BaseException:
            self._interrupted()
            raise

    def _interrupted(self, *jobs: Blocking | Run | None) -> None:
        """Ctrl-C or its like: cancel the call, and let go of attempts that may be stuck where
        nobody would be told of their end."""
        held = [*jobs, self._job, self._inner, *(self._late or ())]
        self.cancel()
        for attempt in held:
            if isinstance(attempt, Attempt):
                attempt.leave()

    def _enter_here(self, do: Callable[..., None], *arguments: Any) -> None:
        with self._lock:
            self._here, self._busy = True, False
            try:
                do(*arguments)
            finally:
                self._here = False
        if self._todo:
            self._do_all()

    def _wait_for_work(self) -> None:
        timer = self._timer
        mine = timer if timer is not None and timer.mine else None
        left = None if mine is None else mine.due - time.monotonic()
        self.wait_until(lambda: self._job or self._inbox or self._outcome is not None, left)
        if mine is not None and not self._inbox and time.monotonic() >= mine.due:
            self._enter_here(self._timed, mine)

    # --- attempts -----------------------------------------------------------------------------

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        assert isinstance(make, Twin)
        if self._call.endpoint is not None:
            # Of a connection that has just ended nobody tells us, and this has gRPC make another.
            self._call.endpoint.transport.notice()
        if self._here and make.blocks:
            attempt = Blocking(make, self._take_first(), timeout, metadata, self._arguments)
            self._job, self._busy = attempt, True
            return attempt
        managed = Managed(make, self._take_first(), timeout, metadata, self._arguments)
        self._outside(partial(managed.start, self))
        return managed

    def _take_first(self) -> Any:
        """What an attempt sends."""
        return self._first

    def attempt_started(self, attempt: Attempt) -> None:
        with self._lock:
            self._ring()

    def attempt_ended(self, attempt: Attempt) -> None:
        self.enter(self._end_of, attempt)

    def _end_of(self, attempt: Attempt) -> None:
        if attempt.refused is not None and attempt is self._inner and self._outcome is None:
            self._not_started(attempt.refused)
        elif attempt.code is not None:
            self._attempt_done(attempt)

    def _code_of(self, inner: Attempt) -> StatusCode:
        assert inner.code is not None
        return inner.code

    def _failure_of(self, inner: Attempt, code: StatusCode, stayed: bool) -> Failure:
        return inner.failure(stayed)

    def _set_alarm(self, due: float) -> None:
        limit = Limit(self, self._inner)
        self._bound.limits.set(limit, due)
        self._alarm = limit

    def _overdue(self, attempt: Attempt) -> None:
        if attempt is self._inner and self._outcome is None:
            self._alarm = None
            self._give_up()

    # --- the user's functions -----------------------------------------------------------------

    def _start(self, effect: Run) -> Cancellable:
        if effect.function is READING.message:  # not the user's: it takes no time
            self._outside(partial(self.enter, self._ran, effect, answer_of(effect)))
        elif self._drives:
            # The caller's thread may be held up by an attempt that can be of no use any more.
            self._drop_late(OUTRUN)
            self._job = effect
            self._ring()
        else:
            self._outside(partial(self._run_elsewhere, effect))
        return _Mark(effect)

    def _run_elsewhere(self, effect: Run) -> None:
        context = self._context.copy()
        awaited = context.run(_answering.get)
        context.run(_answering.set, True)
        if not self._bound.pool.run(partial(self._run, context, effect), awaited=awaited):
            failure = Failure(StatusCode.RESOURCE_EXHAUSTED, "no thread can be started for it")
            self.enter(self._ran, effect, failure)

    def _run(self, context: Any, effect: Run) -> None:
        """On a thread of the pool."""
        if self._outcome is not None:
            return  # it was cancelled before its turn came
        answer: Outcome
        try:
            answer = context.run(answer_of, effect)
        except BaseException as error:  # sys.exit() is no way to leave the call behind
            answer = Failure(StatusCode.UNKNOWN, repr(error), error=error)
        self.enter(self._ran, effect, answer)

    def _ran(self, effect: Run, answer: Outcome) -> None:
        running = self._running
        if isinstance(running, _Mark) and running.effect is effect:
            self._running = None
            self._step(answer)

    # --- the end ------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel the call, here and at the server. False if it had ended."""
        processes.check(self._bound.pid)
        return self.end_with(CANCELLED)

    def end_with(self, failure: Failure) -> bool:
        """End the call now. False if it had ended."""
        if self._outcome is not None:
            return False
        with self._lock:
            if self._outcome is not None:
                return False
            if self._here or self._elsewhere:  # a signal handler, in the midst of a step
                self._bound.limits.soon(partial(self.end_with, failure))
                return True
            self._abort(failure)
        if self._todo:
            self._do_all()
        return True

    def _tell_begun(self) -> None:
        """Nobody waits for less than its start."""

    def _tell_end(self) -> None:
        self._ring()
        callbacks, self._callbacks = self._callbacks, None
        if callbacks:
            job = partial(call_back, callbacks, self, BaseException)
            self._outside(partial(self._call_back, job))

    def _call_back(self, job: Callable[[], None]) -> None:
        # On no thread that a call may need: a callback may wait for other calls.
        if not self._bound.callbacks.run(job):
            job()


class _Mark:
    """Stands for the user's function while it runs: nothing can end that."""

    __slots__ = ("effect",)

    def __init__(self, effect: Run) -> None:
        self.effect = effect

    def cancel(self) -> None:
        """What it returns will be thrown away."""
