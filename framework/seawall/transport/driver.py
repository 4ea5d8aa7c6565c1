"""The aio driver: it performs a plan's effects on the event loop, without a task of its own.

gRPC reports the end of an attempt by a callback, and the plan is stepped right there: a task for
each call would cost more than all policies together.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from grpc import StatusCode
from grpc.aio import Metadata

from seawall.call import Attempt, Call, Endpoint, Failure, Outcome, Success
from seawall.policy.plan import Await, LateAnswer, Linger, Plan, Run, Send, Sleep
from seawall.policy.waiting import Waiting
from seawall.transport.discovery import Discovery
from seawall.transport.limits import Alarm
from seawall.transport.translate import (
    NO_METADATA,
    FlatMetadata,
    failure_of,
    resolved,
    whole_grains,
)

CANCELLED = Failure(StatusCode.CANCELLED, "Locally cancelled by application!")
LOST = Failure(StatusCode.CANCELLED, "another attempt was answered first", limit=True)
OUTRUN = Failure(StatusCode.DEADLINE_EXCEEDED, "no answer before the call was over", limit=True)

Hooks = list[Callable[[Outcome], None]]


class Driver:
    """One call under way: its plan and the attempt in hand.

    Subclasses say how an attempt is begun (``_begin``) and what its result is.
    """

    # Defaults stand on the class: each saves an assignment at every call.
    _inner: Any = None
    """The attempt in hand; once the call has succeeded, the one that did."""
    _sent_at = 0.0
    _timer: asyncio.TimerHandle | None = None
    _alarm: Alarm | None = None
    _parked: Waiting | None = None
    """Where the plan waits for a change."""
    _running: asyncio.Task[Any] | None = None
    """The user's fallback function at work."""
    _late: dict[Any, tuple[Endpoint | None, Hooks]] | None = None
    """Attempts left running beside the one in hand: where, and who wants to know their end."""
    _lingering = False
    _outcome: Outcome | None = None
    _waiter: asyncio.Future[None] | None = None
    _begun: asyncio.Future[None] | None = None
    """Set by whoever waits for an attempt to be in hand."""
    _callbacks: list[Callable[[Any], None]] | None = None

    def __init__(
        self,
        bound: Any,
        call: Call,
        plan: Plan,
        discovery: Discovery,
        arguments: dict[str, Any],
        metadata: tuple[tuple[str, str | bytes], ...],
    ) -> None:
        self._bound = bound
        self._call = call
        self._plan = plan
        self._discovery = discovery
        self._arguments = arguments
        self._metadata = metadata
        self._loop = bound.loop
        # Timers and changes are shared by many calls: each goes on in its own caller's context.
        self._context = copy_context()

    # --- performing effects ---------------------------------------------------------------

    def _step(self, answer: Any) -> None:
        """Go on with the plan: answer its last effect, perform its next."""
        try:
            if type(answer) is LateAnswer:
                effect = self._plan.throw(answer)
            else:
                effect = self._plan.send(answer)
        except StopIteration as stop:
            self._settle(stop.value)
            return
        except Exception as error:  # a balancer of the user's own, or a mistake in ours
            self._settle(Failure(StatusCode.INTERNAL, f"a policy failed: {error!r}", error=error))
            return
        if type(effect) is Send:
            self._send(effect)
        elif type(effect) is Sleep:
            self._timer = self._loop.call_later(effect.seconds, self._step, None)
        elif type(effect) is Await:
            self._await(effect)
        elif type(effect) is Linger:
            self._linger()
        elif type(effect) is Run:
            self._running = self._loop.create_task(self._run(effect))

    def _send(self, effect: Send) -> None:
        call, bound = self._call, self._bound
        self._sent_at = now = time.monotonic()
        timeout = None if call.deadline is None else whole_grains(call.deadline - now)
        metadata = self._metadata
        if call.metadata:
            metadata += call.metadata
        if call.marks:
            metadata += call.marks
        connection = effect.endpoint.transport
        try:
            make = connection.callables.get(bound) or connection.bind(bound)
            self._inner = self._begin(
                make, timeout, FlatMetadata(metadata) if metadata else NO_METADATA
            )
        except Exception as error:  # its connection was closed meanwhile, or gRPC takes offence
            details = f"the attempt could not be started: {error!r}"
            self._ended(Failure(StatusCode.UNAVAILABLE, details, sent=False, error=error))
            return
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)
        if call.limit is not None:
            self._alarm = bound.limits.set(self._limit_passed, now + call.limit)

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Metadata) -> Any:
        """Start an attempt; ``_attempt_done`` is told when it has ended, or been answered."""
        raise NotImplementedError

    def _attempt_done(self, inner: Any) -> None:
        if inner is not self._inner or self._outcome is not None:
            if self._late and inner in self._late:
                self._late_done(inner)
            return
        code = resolved(inner.code())
        if code is StatusCode.OK:
            self._clear_alarm()
            self._step(Success(inner))
        else:
            self._ended(self._failure(inner, code))

    def _failure(self, inner: Any, code: StatusCode) -> Failure:
        endpoint = self._call.endpoint
        connected = endpoint is not None and endpoint.transport.connected
        return failure_of(inner, code, connected=connected)

    def _ended(self, failure: Failure) -> None:
        """The attempt in hand has failed: keep the record, go on with the plan."""
        self._clear_alarm()
        call = self._call
        call.record(
            Attempt(
                len(call.attempts or ()) + 1,
                call.endpoint.address if call.endpoint else "",
                failure.code,
                failure.details,
                time.monotonic() - self._sent_at,
            )
        )
        self._inner = None
        self._step(failure)

    def _clear_alarm(self) -> None:
        if self._alarm is not None:
            self._bound.limits.cancel(self._alarm)
            self._alarm = None

    # --- attempts that take longer than their share ----------------------------------------

    def _limit_passed(self) -> None:
        self._alarm = None
        self._context.run(self._give_up)

    def _give_up(self) -> None:
        """Another attempt may begin; this one ends, or goes on beside it."""
        call, inner = self._call, self._inner
        if self._outcome is not None or inner is None or call.limit is None:
            return
        if call.abandon is not None and not call.abandon():
            return
        self._inner = None
        details = f"no answer within the {call.limit:.3f} s that one attempt may take"
        failure = Failure(StatusCode.DEADLINE_EXCEEDED, details, limit=True)
        if call.keep_late:
            failure.pending = []
            self._late = self._late or {}
            self._late[inner] = call.endpoint, failure.pending
        else:
            inner.cancel()
        self._ended(failure)

    def _late_done(self, inner: Any) -> None:
        """An attempt that was left running has ended."""
        assert self._late is not None
        endpoint, hooks = self._late.pop(inner)
        code = resolved(inner.code())
        ok = code is StatusCode.OK
        outcome = Success(inner) if ok else failure_of(inner, code, connected=True)
        for hook in hooks:
            hook(outcome)
        call = self._call
        if outcome.ok or (call.conclusive is not None and call.conclusive(outcome)):
            self._drop_attempt()
            call.endpoint = endpoint
            self._step(LateAnswer(outcome))
        elif self._lingering and not self._late:
            self._step(None)
        elif call.eager and self._alarm is not None:
            self._clear_alarm()
            self._give_up()

    def _linger(self) -> None:
        self._lingering = True
        if not self._late:
            self._step(None)

    def _drop_late(self, end: Failure) -> None:
        """The call is over: whoever has not answered by now has lost."""
        late, self._late = self._late, None
        for inner, (_, hooks) in (late or {}).items():
            inner.cancel()
            for hook in hooks:
                hook(end)

    # --- waiting for endpoints, and for the user's own code -------------------------------

    def _await(self, effect: Await) -> None:
        self._timer = self._loop.call_later(effect.seconds, self._changed)
        if effect.on is None:
            self._parked = self._discovery.waiting
            self._parked.wait(self, self._changed)
        else:
            # Who wakes us is another call's plan: it has to come to its own next step first.
            self._parked = effect.on
            self._parked.wait(self, partial(self._loop.call_soon, self._changed))

    def _changed(self) -> None:
        if self._parked is None:
            return  # time was up in the moment of the change, or the call has ended
        self._unpark()
        if self._outcome is None:
            self._context.run(self._step, None)

    def _unpark(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.unwait(self)
        if self._timer is not None:
            self._timer.cancel()

    async def _run(self, effect: Run) -> None:
        answer: Outcome
        try:
            value = effect.function(*effect.arguments)
            answer = Success(await value if inspect.isawaitable(value) else value)
        except asyncio.CancelledError as error:
            if self._running is None:
                raise  # the call was cancelled, and so we were
            answer = Failure(StatusCode.CANCELLED, repr(error), error=error)
        except Exception as error:
            answer = Failure(StatusCode.UNKNOWN, repr(error), error=error)
        self._running = None
        self._step(answer)

    # --- the end ----------------------------------------------------------------------------

    def _finish(self, outcome: Outcome) -> None:
        """The call has ended: tell whoever waits."""
        self._outcome = outcome
        if outcome.ok and not outcome.fallback:
            self._inner = outcome.value
        if self._late:
            lost = LOST if outcome.ok and self._call.eager else OUTRUN
            self._drop_late(CANCELLED if outcome is CANCELLED else lost)
        for waiter in (self._waiter, self._begun):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._bound.active.discard(self)
        if self._callbacks:
            for callback in self._callbacks:
                self._loop.call_soon(callback, self)

    # What to do when the plan has ended; a stream goes on then.
    _settle = _finish

    def cancel(self) -> bool:
        """Cancel the call, here and at the server. False if it had ended."""
        if self._outcome is not None:
            return False
        if self._waiter is not None:
            self._waiter.cancel()
        self._abort(CANCELLED)
        return True

    def _abort(self, failure: Failure) -> None:
        """End the call now, whatever its plan was about to do."""
        self._outcome = failure
        self._drop_attempt()
        self._plan.close()
        self._finish(failure)

    def _drop_attempt(self) -> None:
        """Cancel whatever the plan waits for."""
        inner, self._inner = self._inner, None
        self._clear_alarm()
        self._unpark()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        if inner is not None:
            inner.cancel()
