"""The sync driver: it performs a plan's effects on threads, under its service's lock.

What the lock guards is stepped by whichever thread has news: the caller's own while that drives
(``drive``), gRPC's or the timers' otherwise. What may take long (sending an attempt, calling the
user back) is noted under the lock and done after it (``_todo``).
"""

from __future__ import annotations

import threading
import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from grpc import StatusCode

from seawall.call import Failure, Outcome
from seawall.policy.plan import Await, Run
from seawall.transport.driver import CANCELLED, OUTRUN, Cancellable, Driver, Items
from seawall.transport.sync.attempts import Attempt, Blocking, Managed
from seawall.transport.sync.timers import Alarm
from seawall.transport.sync.twin import Twin
from seawall.transport.sync.user_code import answer_of, call_back

Job = Callable[[], None]


class Timer(Alarm):
    """A wait of one plan."""

    __slots__ = ("_driver", "do", "due", "mine")

    def __init__(self, driver: SyncDriver, do: Job, due: float, *, mine: bool) -> None:
        self._driver = driver
        self.do = do
        self.due = due
        self.mine = mine
        """Whether the caller's own thread keeps the time."""

    def ring(self) -> None:
        self._driver.enter(self._driver._timed, self)

    def cancel(self) -> None:
        """Nothing to do: who rings looks whether the plan still waits for it."""


class Limit(Alarm):
    """The time that one attempt may take."""

    __slots__ = ("_attempt", "_driver")

    def __init__(self, driver: SyncDriver, attempt: Attempt) -> None:
        self._driver = driver
        self._attempt = attempt

    def ring(self) -> None:
        self._driver.enter(self._driver._overdue, self._attempt)


class SyncDriver(Driver):
    """One call under way. Methods with an underscore are called with the service's lock held."""

    _timer: Timer | None = None
    _alarm: Any = None
    _todo: deque[Job] | None = None
    channel: Any = None
    """Kept from being collected, and so closed, while there is the call."""
    _here = False
    """The caller's own thread is stepping the plan."""
    _elsewhere = False
    """Another thread is."""
    _drives = False
    """The caller's own thread carries the call, and does what there is to do."""
    _busy = False
    """It is held up in an attempt; others go on with the plan meanwhile, if it takes too long."""
    _job: Blocking | Run | None = None
    """What the caller's thread is to do next."""
    _inbox: deque[Job] | None = None
    _bells: list[LockType] | None = None
    """Of the threads that wait for a change of this call."""

    def __init__(self, first: Any, bound: Any, *facts: Any) -> None:
        super().__init__(bound, *facts)
        self._first = first
        self._lock = bound.lock

    # --- the lock -----------------------------------------------------------------------------

    def enter(self, do: Callable[..., None], *arguments: Any) -> None:
        """Have something done with the lock held: by the thread that drives the call, if that is
        free; else here, in the caller's context, and then what has to be done without the lock."""
        with self._lock:
            if self._drives and not self._busy and self._outcome is None:
                self._hand(partial(do, *arguments))
            else:
                self._elsewhere = True
                try:
                    self._context.run(do, *arguments)
                finally:
                    self._elsewhere = False
        if self._todo:
            self._do_all()

    def begin(self) -> None:
        """Begin the call; it goes on by itself."""
        self.enter(self._begin_plan)

    def _begin_plan(self) -> None:
        if self._outcome is None:  # the channel may have been closed in this moment
            self._step(None)

    def _do_all(self) -> None:
        todo = self._todo
        while todo:
            try:
                job = todo.popleft()
            except IndexError:  # another thread was faster
                return
            job()

    def _outside(self, job: Job) -> None:
        """Have ``job`` done after the lock is given back."""
        if self._todo is None:
            self._todo = deque()
        self._todo.append(job)

    def _post(self, do: Job) -> None:
        """Have ``do`` done soon, but not here, where somebody else's plan is being stepped."""
        if self._drives and not self._busy and self._outcome is None:
            self._hand(do)
        else:
            self._bound.limits.soon(partial(self.enter, do))

    def _hand(self, do: Job) -> None:
        """Leave it to the thread that drives."""
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(do)
        self._ring()

    # --- driving ------------------------------------------------------------------------------

    def drive(self) -> Outcome:
        """Carry the call from its beginning to its end on this thread."""
        self._drives = True
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
            self.cancel()
            if type(self._job) is Blocking:  # it was to be run next
                self._job.leave()
            raise
        return self._outcome

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

    def wait_until(self, holds: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait for something about this call that ``_ring`` tells of. False if time was up."""
        until = None if timeout is None else time.monotonic() + timeout
        while not holds():
            left = -1.0 if until is None else min(until - time.monotonic(), threading.TIMEOUT_MAX)
            if until is not None and left <= 0:
                return False
            bell = allocate_lock()
            bell.acquire()
            with self._lock:
                if holds():
                    return True
                if self._bells is None:
                    self._bells = []
                self._bells.append(bell)
            try:
                bell.acquire(True, left)
            finally:
                with self._lock:
                    if self._bells and bell in self._bells:
                        self._bells.remove(bell)
        return True

    def _ring(self) -> None:
        """Wake who waits for a change of this call."""
        bells, self._bells = self._bells, []
        for bell in bells or ():
            bell.release()

    # --- attempts -----------------------------------------------------------------------------

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        assert isinstance(make, Twin)
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
        if self._bells:
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

    def _failure_of(self, inner: Attempt, code: StatusCode, connected: bool) -> Failure:
        return inner.failure(connected)

    # --- waiting ------------------------------------------------------------------------------

    def _later(self, seconds: float, do: Job) -> Cancellable:
        timer = Timer(self, do, time.monotonic() + seconds, mine=self._here)
        if not timer.mine:
            self._bound.limits.set(timer, timer.due)
        return timer

    def _timed(self, timer: Timer) -> None:
        if timer is self._timer and self._outcome is None:
            self._timer = None
            timer.do()

    def _unpark(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and not timer.mine:
            self._bound.limits.cancel(timer)
        super()._unpark()

    def _set_alarm(self, due: float) -> None:
        self._alarm = limit = Limit(self, self._inner)
        self._bound.limits.set(limit, due)

    def _overdue(self, attempt: Attempt) -> None:
        if attempt is self._inner and self._outcome is None:
            self._alarm = None
            self._give_up()

    def _await(self, effect: Await) -> None:
        self._timer = self._later(effect.seconds, self._changed)  # type: ignore[assignment]
        self._parked = self._discovery.waiting if effect.on is None else effect.on
        self._parked.wait(self, partial(self._post, self._changed))

    # --- the user's functions -----------------------------------------------------------------

    def _start(self, effect: Run) -> Cancellable:
        if self._drives:
            # The caller's thread may be held up by an attempt that can be of no use any more.
            self._drop_late(OUTRUN)
            self._job = effect
            self._ring()
        else:
            context = self._context.copy()
            self._outside(partial(self._bound.pool.run, partial(self._run, context, effect)))
        return _Mark(effect)

    def _run(self, context: Any, effect: Run) -> None:
        """On a thread of the pool."""
        answer = context.run(answer_of, effect)
        self.enter(self._ran, effect, answer)

    def _ran(self, effect: Run, answer: Outcome) -> None:
        running = self._running
        if isinstance(running, _Mark) and running.effect is effect:
            self._running = None
            self._step(answer)

    # --- the end ------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel the call, here and at the server. False if it had ended."""
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
        for callback in self._callbacks or ():
            self._outside(partial(call_back, callback, self))
        self._callbacks = None


class _Mark:
    """Stands for the user's function while it runs: nothing can end that."""

    __slots__ = ("effect",)

    def __init__(self, effect: Run) -> None:
        self.effect = effect

    def cancel(self) -> None:
        """What it returns will be thrown away."""
