"""What drivers share: they perform a plan's effects, and keep account of its attempts.

The plan is stepped right where an attempt's end is heard of: a task or a thread for each call
would cost more than all policies together. The aio driver does it on the event loop (``loop``),
the sync driver under a lock (``sync.driver``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from grpc import StatusCode

from seawall.call import Attempt, Call, Endpoint, Failure, Outcome, Success
from seawall.errors import in_words
from seawall.policy.plan import Await, LateAnswer, Linger, Plan, Run, Send, Sleep
from seawall.policy.waiting import Waiting
from seawall.transport.discovery import Discovery
from seawall.transport.limits import Alarm
from seawall.transport.load import ASK
from seawall.transport.translate import whole_grains
from seawall.transport.unsent import SURE_AFTER, says_unsent

CANCELLED = Failure(StatusCode.CANCELLED, "Locally cancelled by application!")
LOST = Failure(StatusCode.CANCELLED, "another attempt was answered first", limit=True)
OUTRUN = Failure(StatusCode.DEADLINE_EXCEEDED, "no answer before the call was over", limit=True)

_log = logging.getLogger("seawall.transport")

Hooks = list[Callable[[Outcome], None]]
Items = tuple[tuple[str, str | bytes], ...]
"""Metadata."""


def tell(hooks: Hooks, end: Outcome) -> None:
    """Tell the layers how an attempt or a stream has ended that was left running."""
    for hook in hooks:
        try:
            hook(end)
        except Exception:  # a balancer of the user's own; the others have to hear of it, too
            _log.exception("what a call has come to could not be learnt from")


class Cancellable(Protocol):
    def cancel(self) -> Any: ...


class Driver:
    """One call under way: its plan and the attempt in hand.

    Below this stand a way to wait (the methods that raise NotImplementedError), and how an
    attempt of each arity is begun. All methods are called by one thread at a time.
    """

    # Defaults stand on the class: each saves an assignment at every call.
    _inner: Any = None
    """The attempt in hand; once the call has succeeded, the one that did."""
    _sent_at = 0.0
    _timer: Cancellable | None = None
    _alarm: Alarm | None = None
    _parked: Waiting | None = None
    """Where the plan waits for a change."""
    _running: Cancellable | None = None
    """The user's fallback function at work."""
    _late: dict[Any, tuple[Endpoint | None, Hooks]] | None = None
    """Attempts left running beside the one in hand: where, and who wants to know their end."""
    _lingering = False
    _outcome: Outcome | None = None
    _begun: Any = None
    """Set by whoever waits for an attempt to be in hand."""
    _callbacks: list[Callable[[Any], None]] | None = None

    def __init__(
        self,
        bound: Any,
        call: Call,
        plan: Plan,
        discovery: Discovery,
        arguments: dict[str, Any],
        metadata: Items,
    ) -> None:
        self._bound = bound
        self._call = call
        self._plan = plan
        self._discovery = discovery
        self._arguments = arguments
        self._metadata = metadata
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
            problem = f"a policy failed: {in_words(error)}"
            self._settle(Failure(StatusCode.INTERNAL, problem, error=error))
            return
        if type(effect) is Send:
            self._send(effect)
        elif type(effect) is Sleep:
            self._timer = self._later(effect.seconds, self._slept)
        elif type(effect) is Await:
            self._await(effect)
        elif type(effect) is Linger:
            self._linger()
        elif type(effect) is Run:
            if self._late:
                # Whoever has user code run has come to an end with the attempts: an answer that
                # still came would be thrown in where nobody waits for one.
                decided = answer.outcome if type(answer) is LateAnswer else answer
                self._drop_late(self._lost(decided is not None and decided.ok))
            self._running = self._start(effect)

    def _send(self, effect: Send) -> None:
        call, bound = self._call, self._bound
        self._sent_at = now = time.monotonic()
        timeout = None if call.deadline is None else whole_grains(call.deadline - now)
        metadata = self._metadata
        if call.metadata:
            metadata += call.metadata
        if call.marks:
            metadata += call.marks
        if call.asks_load:
            metadata += ASK
        connection = effect.endpoint.transport
        try:
            make = connection.callables.get(bound) or connection.bind(bound)
            self._inner = self._begin(make, timeout, metadata)
        except Exception as error:  # its connection was closed meanwhile, or gRPC takes offence
            self._not_started(error)
            return
        if self._begun is not None:
            self._tell_begun()
        if call.limit is not None:
            self._set_alarm(now + call.limit)

    def _not_started(self, error: BaseException) -> None:
        details = f"the attempt could not be started: {in_words(error)}"
        self._ended(Failure(StatusCode.UNAVAILABLE, details, sent=False, error=error))

    def _slept(self) -> None:
        self._step(None)

    def _attempt_done(self, inner: Any) -> None:
        if inner is not self._inner or self._outcome is not None:
            if self._late and inner in self._late:
                self._late_done(inner)
            return
        code = self._code_of(inner)
        if code is StatusCode.OK:
            self._clear_alarm()
            self._step(Success(inner))
        else:
            self._failed(inner, code)

    def _failed(self, inner: Any, code: StatusCode) -> None:
        """The attempt in hand has failed: see what that means."""
        failure = self._failure(inner, code)
        if failure.sent and says_unsent(code, failure.details):
            # Of its connection's end we may hear a moment later.
            self._clear_alarm()
            self._timer = self._later(SURE_AFTER, partial(self._failed_for_sure, inner, code))
        else:
            self._ended(failure)

    def _failed_for_sure(self, inner: Any, code: StatusCode) -> None:
        if inner is self._inner and self._outcome is None:
            self._ended(self._failure(inner, code))

    def _failure(self, inner: Any, code: StatusCode) -> Failure:
        endpoint = self._call.endpoint
        stayed = endpoint is not None and not endpoint.transport.lost_since(self._sent_at)
        return self._failure_of(inner, code, stayed)

    def _ended(self, failure: Failure) -> None:
        """The attempt in hand has failed: keep the record, go on with the plan."""
        self._clear_alarm()
        self._record(failure)
        self._inner = None
        self._step(failure)

    def _record(self, failure: Failure) -> None:
        """Keep what became of the attempt in hand, for ``explain()``."""
        call = self._call
        call.record(
            Attempt(
                len(call.attempts or ()) + 1,
                call.endpoint.address if call.endpoint else "",
                failure.code,
                failure.details,
                time.monotonic() - self._sent_at,
                call.considered,
            )
        )

    def _clear_alarm(self) -> None:
        if self._alarm is not None:
            self._bound.limits.cancel(self._alarm)
            self._alarm = None

    # --- attempts that take longer than their share ----------------------------------------

    def _give_up(self) -> None:
        """Another attempt may begin; this one ends, or goes on beside it."""
        call, inner = self._call, self._inner
        if self._outcome is not None or inner is None or call.limit is None:
            return
        if call.abandon is not None and not call.abandon(call):
            return
        self._inner = None
        details = f"no answer within the {call.limit:.3f} s that one attempt may take"
        failure = Failure(StatusCode.DEADLINE_EXCEEDED, details, limit=True)
        if call.keep_late:
            failure.pending = []
            self._late = self._late or {}
            self._late[inner] = call.endpoint, failure.pending
        else:
            self._cancel_attempt(inner)
        self._ended(failure)

    def _late_done(self, inner: Any) -> None:
        """An attempt that was left running has ended."""
        assert self._late is not None
        endpoint, hooks = self._late.pop(inner)
        code = self._code_of(inner)
        ok = code is StatusCode.OK
        outcome = Success(inner) if ok else self._failure_of(inner, code, True)
        tell(hooks, outcome)
        call = self._call
        if outcome.ok or (call.conclusive is not None and call.conclusive(outcome)):
            if not outcome.ok and endpoint is not None:
                call.note(f"{endpoint.address}, left running, answered {outcome.code.name}")
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

    def _lost(self, ok: bool) -> Failure:
        """The end of the attempts that have not answered by now, when the call is decided."""
        return LOST if ok and self._call.eager else OUTRUN

    def _drop_late(self, end: Failure) -> None:
        """The call is over: whoever has not answered by now has lost."""
        late, self._late = self._late, None
        for inner, (_, hooks) in (late or {}).items():
            self._cancel_attempt(inner)
            tell(hooks, end)

    # --- waiting for a change ---------------------------------------------------------------

    def _changed(self) -> None:
        if self._parked is None:
            return  # time was up in the moment of the change, or the call has ended
        self._unpark()
        if self._outcome is None:
            self._slept()

    def _unpark(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.unwait(self)
        if self._timer is not None:
            self._timer.cancel()

    # --- the end ----------------------------------------------------------------------------

    def _finish(self, outcome: Outcome) -> None:
        """The call has ended: tell whoever waits."""
        self._outcome = outcome
        if outcome.ok and not outcome.fallback:
            self._inner = outcome.value
        if self._late:
            self._drop_late(CANCELLED if outcome is CANCELLED else self._lost(outcome.ok))
        self._bound.active.discard(self)
        self._tell_end()

    # What to do when the plan has ended; a stream goes on then.
    _settle = _finish

    def cancel(self) -> bool:
        """Cancel the call, here and at the server. False if it had ended."""
        if self._outcome is not None:
            return False
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
            self._cancel_attempt(inner)

    # --- what each kind of driver does in its own way ---------------------------------------

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        """Start an attempt; ``_attempt_done`` is told when it has ended, or been answered."""
        raise NotImplementedError

    def _code_of(self, inner: Any) -> StatusCode:
        """The status of an attempt that has ended."""
        raise NotImplementedError

    def _failure_of(self, inner: Any, code: StatusCode, stayed: bool) -> Failure:
        """The failure that such an attempt stands for; ``stayed``: its connection was up all the
        time."""
        raise NotImplementedError

    def _cancel_attempt(self, inner: Any) -> None:
        """Cancel an attempt that nobody waits for any more."""
        inner.cancel()

    def _later(self, seconds: float, do: Callable[[], None]) -> Cancellable:
        raise NotImplementedError

    def _set_alarm(self, due: float) -> None:
        """Have ``_give_up`` called at ``due``."""
        raise NotImplementedError

    def _await(self, effect: Await) -> None:
        """Have ``_changed`` called when there is a change, or the time is up."""
        raise NotImplementedError

    def _start(self, effect: Run) -> Cancellable:
        """Begin to run the user's function; the plan is told what came of it."""
        raise NotImplementedError

    def _tell_begun(self) -> None:
        """Wake who waits for an attempt to be in hand."""
        raise NotImplementedError

    def _tell_end(self) -> None:
        """Wake who waits for the end, and call back."""
        raise NotImplementedError
