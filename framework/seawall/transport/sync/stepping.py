"""Stepping a plan by whichever thread has news, under its service's lock.

That is the caller's own thread while it carries the call (``_drives``), gRPC's or the timers'
otherwise. What may take long (sending an attempt, calling the user back) is noted under the lock
and done after it (``_outside``).
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

from seawall.call import Failure
from seawall.policy.plan import Await
from seawall.transport.attempting import Cancellable
from seawall.transport.driver import Driver
from seawall.transport.sync import processes
from seawall.transport.sync.timers import Alarm

Job = Callable[[], None]


class Timer(Alarm):
    """A wait of one plan."""

    __slots__ = ("_driver", "do", "due", "mine")

    def __init__(self, driver: Stepping, do: Job, due: float, *, mine: bool) -> None:
        self._driver = driver
        self.do = do
        self.due = due
        self.mine = mine
        """Whether the caller's own thread keeps the time."""

    def ring(self) -> None:
        self._driver.enter(self._driver._timed, self)

    def cancel(self) -> None:
        """Nothing to do: who rings looks whether the plan still waits for it."""


class Stepping(Driver):
    """A call that threads step. Methods with an underscore are called with the lock held."""

    _timer: Timer | None = None
    _alarm: Any = None
    _todo: deque[Job] | None = None
    _here = False
    """The caller's own thread is stepping the plan."""
    _elsewhere = False
    """Another thread is."""
    _drives = False
    """The caller's own thread carries the call, and does what there is to do."""
    _busy = False
    """It is held up in an attempt; others go on with the plan meanwhile, if it takes too long."""
    _inbox: deque[Job] | None = None
    """What others have left for that thread."""
    _bells: list[LockType] | None = None
    """Of the threads that wait for a change of this call."""

    def __init__(self, bound: Any, *facts: Any) -> None:
        super().__init__(bound, *facts)
        self._lock = bound.lock

    def enter(self, do: Callable[..., None], *arguments: Any) -> None:
        """Have something done with the lock held: by the thread that drives the call, if that is
        free; else here, in the caller's context, and then what has to be done without the lock.

        A call that can't go on is ended: nobody else would do it.
        """
        try:
            with self._lock:
                if self._drives and not self._busy and self._outcome is None:
                    self._hand(partial(do, *arguments))
                else:
                    self._enter_elsewhere(do, arguments)
        finally:
            if self._todo:
                self._do_all()

    def _enter_elsewhere(self, do: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._elsewhere = True
        try:
            self._context.run(do, *arguments)
        except Exception as error:
            if self._outcome is None:
                details = f"the call could not go on: {error!r}"
                self._abort(Failure(StatusCode.INTERNAL, details, error=error))
            raise
        finally:
            self._elsewhere = False

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

    def wait_until(self, holds: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait for something about this call that ``_ring`` tells of. False if time was up."""
        until = None if timeout is None else time.monotonic() + timeout
        while not holds():
            left = -1.0 if until is None else min(until - time.monotonic(), threading.TIMEOUT_MAX)
            if until is not None and left <= 0:
                return False
            processes.check(self._bound.pid)
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

    def _await(self, effect: Await) -> None:
        self._timer = self._later(effect.seconds, self._changed)  # type: ignore[assignment]
        self._parked = self._discovery.waiting if effect.on is None else effect.on
        self._parked.wait(self, partial(self._post, self._changed))
