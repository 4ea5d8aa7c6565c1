"""The aio driver: it performs a plan's effects on the event loop, without a task of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from grpc import StatusCode

from seawall.call import Failure, Outcome, as_success
from seawall.context import without_fallback
from seawall.errors import in_words
from seawall.policy.plan import Await, Run
from seawall.transport.attempting import Cancellable
from seawall.transport.driver import Driver
from seawall.transport.translate import failure_of, resolved


class LoopDriver(Driver):
    """One call under way on an event loop."""

    _waiter: asyncio.Future[None] | None = None
    _begun: asyncio.Future[None] | None = None

    def __init__(self, bound: Any, *facts: Any) -> None:
        super().__init__(bound, *facts)
        self._loop = bound.loop

    def _code_of(self, inner: Any) -> StatusCode:
        code: StatusCode = resolved(inner.code())
        return code

    def _failure_of(self, inner: Any, code: StatusCode, stayed: bool) -> Failure:
        return failure_of(inner, code, stayed=stayed)

    def _later(self, seconds: float, do: Callable[[], None]) -> Cancellable:
        handle: asyncio.TimerHandle = self._loop.call_later(seconds, do)
        return handle

    def _set_alarm(self, due: float) -> None:
        self._alarm = self._bound.limits.set(self._limit_passed, due)

    def _limit_passed(self) -> None:
        self._alarm = None
        self._context.run(self._give_up)

    def _await(self, effect: Await) -> None:
        changed = partial(self._context.run, self._changed)
        self._timer = self._loop.call_later(effect.seconds, changed)
        if effect.on is None:
            self._parked = self._discovery.waiting
            self._parked.wait(self, changed)
        else:
            # Who wakes us is another call's plan: it has to come to its own next step first.
            self._parked = effect.on
            self._parked.wait(self, partial(self._loop.call_soon, changed))

    def _start(self, effect: Run) -> Cancellable:
        task: asyncio.Task[None] = self._loop.create_task(self._run(effect))
        return task

    async def _run(self, effect: Run) -> None:
        answer: Outcome
        try:
            with without_fallback():
                value = effect.function(*effect.arguments)
                answer = as_success(await value if inspect.isawaitable(value) else value)
        except asyncio.CancelledError as error:
            if self._running is None:
                raise  # the call was cancelled, and so we were
            answer = Failure(StatusCode.CANCELLED, in_words(error), error=error)
        except Exception as error:
            answer = Failure(StatusCode.UNKNOWN, in_words(error), error=error)
        self._running = None
        self._step(answer)

    def _tell_begun(self) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _tell_end(self) -> None:
        for waiter in (self._waiter, self._begun):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self._callbacks:
            for callback in self._callbacks:
                self._loop.call_soon(callback, self)

    def cancel(self) -> bool:
        if self._outcome is None and self._waiter is not None:
            self._waiter.cancel()
        return super().cancel()
