"""The attempts of a call under way: the one in hand, and those that were left running beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from grpc import StatusCode

from seawall.call import Attempt, Call, Endpoint, Failure, Outcome, Success
from seawall.errors import in_words
from seawall.policy.plan import LateAnswer, Send
from seawall.transport.limits import Alarm
from seawall.transport.load import ASK
from seawall.transport.translate import whole_grains
from seawall.transport.unsent import SURE_AFTER, says_unsent

CANCELLED = Failure(StatusCode.CANCELLED, "Locally cancelled by application!")
LOST = Failure(StatusCode.CANCELLED, "another attempt was answered first", limit=True)
OUTRUN = Failure(StatusCode.DEADLINE_EXCEEDED, "no answer before the call was over", limit=True)
_ANSWERED: Final = Success()

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


class Late(NamedTuple):
    """An attempt that is left running."""

    endpoint: Endpoint | None
    hooks: Hooks
    """Who wants to know its end."""
    number: int
    sent_at: float
    considered: int
    """Among how many the endpoint was picked."""


class Attempting:
    """What a driver does with attempts. The rest of it is ``driver.Driver``."""

    _inner: Any = None
    """The attempt in hand; once the call has succeeded, the one that did."""
    _sent_at = 0.0
    _answered_at = 0.0
    """When an attempt has answered; 0 = none has."""
    _timer: Cancellable | None = None
    _alarm: Alarm | None = None
    _late: dict[Any, Late] | None = None
    """Attempts left running beside the one in hand."""
    _winner: Late | None = None
    """The one of these that has answered."""
    _lingering = False
    _outcome: Outcome | None = None
    _running: Cancellable | None = None
    """The user's fallback function at work."""
    _begun: Any = None
    """Set by whoever waits for an attempt to be in hand."""

    _bound: Any
    _call: Call
    _metadata: Items
    _step: Callable[[Any], None]
    _unpark: Callable[[], None]

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

    def _attempt_done(self, inner: Any) -> None:
        if inner is not self._inner or self._outcome is not None:
            if self._late and inner in self._late:
                self._late_done(inner)
            return
        code = self._code_of(inner)
        if code is StatusCode.OK:
            self._answered(inner)
        else:
            self._failed(inner, code)

    def _answered(self, inner: Any) -> None:
        self._answered_at = time.monotonic()
        self._clear_alarm()
        self._step(Success(inner))

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
        self._call.record(self._told(self._in_hand([]), failure, time.monotonic()))

    def _in_hand(self, hooks: Hooks) -> Late:
        call = self._call
        number = len(call.attempts or ()) + 1
        return Late(call.endpoint, hooks, number, self._sent_at, call.considered)

    def _told(self, late: Late, end: Outcome, now: float) -> Attempt:
        code, details = (StatusCode.OK, "") if end.ok else (end.code, end.details)
        address = late.endpoint.address if late.endpoint else ""
        return Attempt(late.number, address, code, details, now - late.sent_at, late.considered)

    def _winning(self) -> Attempt | None:
        """The attempt that has answered."""
        outcome = self._outcome
        replaced = outcome is not None and (not outcome.ok or outcome.fallback)
        if not self._answered_at or replaced:
            return None
        return self._told(self._winner or self._in_hand([]), _ANSWERED, self._answered_at)

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
        left = ": left running" if call.keep_late else ""
        details = f"no answer within the {call.limit:.3f} s that one attempt may take{left}"
        failure = Failure(StatusCode.DEADLINE_EXCEEDED, details, limit=True)
        if call.keep_late:
            failure.pending = []
            self._late = self._late or {}
            self._late[inner] = self._in_hand(failure.pending)
        else:
            self._cancel_attempt(inner)
        self._ended(failure)

    def _late_done(self, inner: Any) -> None:
        """An attempt that was left running has ended."""
        assert self._late is not None
        late = self._late.pop(inner)
        code = self._code_of(inner)
        ok = code is StatusCode.OK
        outcome = Success(inner) if ok else self._failure_of(inner, code, True)
        tell(late.hooks, outcome)
        call = self._call
        if outcome.ok or (call.conclusive is not None and call.conclusive(outcome)):
            if not outcome.ok and late.endpoint is not None:
                call.note(f"{late.endpoint.address}, left running, answered {outcome.code.name}")
            self._drop_attempt(LOST if outcome.ok else OUTRUN)
            call.endpoint = late.endpoint
            if outcome.ok:
                self._winner, self._answered_at = late, time.monotonic()
                call.late = True
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
        for inner, one in (late or {}).items():
            self._cancel_attempt(inner)
            tell(one.hooks, end)

    def _drop_attempt(self, end: Failure) -> None:
        """Cancel whatever the plan waits for; ``end`` is what becomes of the attempt in hand."""
        inner = self._inner
        if inner is not None:
            self._record(end)
        self._inner = None
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

    def _set_alarm(self, due: float) -> None:
        """Have ``_give_up`` called at ``due``."""
        raise NotImplementedError

    def _later(self, seconds: float, do: Callable[[], None]) -> Cancellable:
        raise NotImplementedError

    def _tell_begun(self) -> None:
        """Wake who waits for an attempt to be in hand."""
        raise NotImplementedError
