"""Retries: another attempt, elsewhere, where that is safe, in time, and within the budget."""

from __future__ import annotations

from functools import partial
from typing import Final

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome
from seawall.clock import Clock, Random
from seawall.policy.budget import Budget
from seawall.policy.classify import Verdict, classify, lacks, not_executed
from seawall.policy.plan import Handler, LateAnswer, Layer, Linger, Plan, Sleep
from seawall.records import Record

UNSENT_RETRIES = 3
"""Attempts that never left the client, or came to a server that vouches that it lacks the method,
are made again at once, at most this often in all, and are counted neither as attempts nor against
the budget (gRFC A6 calls it a transparent retry)."""

ELSEWHERE = (Verdict.ABSENT, Verdict.CANCELLED)
"""Worth another attempt although no policy lists the code: the instance has no such method, or it
stops, and cancels what reaches it in that moment (the caller's own cancellation ends the plan)."""

_UNLISTED = (Verdict.FAULT, Verdict.OVERLOAD)
"""Of these it is told that the policy does not list their code. Of a caller's error nobody asks."""

NUMBER: Final = "seawall-attempt"
"""Metadata: the number of the attempt, from 2 on. gRPC's own ``grpc-previous-rpc-attempts`` is
kept by its core for itself: what a caller puts there does not arrive (seen with 1.85)."""

NO_RETRY: Final = ("seawall-no-retry", "1")
"""Metadata: somebody above tries again already, so calls made for this attempt are not repeated,
nor those made for them. Else three layers of three attempts make 27 calls; so it is 7 at most."""

MOST_PAUSE = 60.0
"""Seconds; a server that asks for more with its pushback is taken to mean: don't."""


class RetryPolicy(Record):
    """What ``retryPolicy`` of the service config says, with seawall's defaults."""

    max_attempts: int = 3
    """Including the first; 1 = never retry."""
    initial_backoff: float = 0.05
    max_backoff: float = 1.0
    multiplier: float = 2.0
    codes: frozenset[StatusCode] = frozenset({StatusCode.UNAVAILABLE})
    attempt_timeout: float | None = None
    """``perAttemptRecvTimeout``, seconds until the first answer of one attempt, which is then
    cancelled. None: for idempotent unary methods the time that is left is shared evenly among the
    attempts that are left, and an attempt that exceeds its share goes on beside the next one: a
    frozen instance costs a share, and a method that merely takes long is still answered."""
    non_idempotent: bool = False
    """Retry methods that the contract does not call idempotent as if it did."""

    def backoff(self, retries: int, random: Random) -> float:
        """Seconds before the retry that follows ``retries`` earlier ones (gRFC A6, as of 2024)."""
        base = self.initial_backoff * self.multiplier**retries
        return min(base, self.max_backoff) * (0.8 + 0.4 * random())


NEVER = RetryPolicy(max_attempts=1)


class Retrier:
    """The decisions for the calls of one method; the state of one call is in the call."""

    def __init__(self, policy: RetryPolicy, budget: Budget, clock: Clock, random: Random) -> None:
        self.policy = policy
        self.budget = budget
        self._clock = clock
        self._random = random

    def left(self, call: Call) -> int:
        """How many more attempts there may be after the coming one, if that may have been run."""
        repeatable = call.method.idempotent or self.policy.non_idempotent
        return self.policy.max_attempts - call.attempt if repeatable and not call.alone else 0

    def set_limit(self, call: Call) -> None:
        """Set how long the coming attempt may take until its first answer."""
        policy = self.policy
        left = self.left(call)
        if left <= 0:
            call.limit = None
            return
        # Another attempt makes sense only if the budget will allow it: otherwise a slow answer
        # is better than none.
        call.abandon = self.may_abandon
        if policy.attempt_timeout is not None:
            call.limit = policy.attempt_timeout
        elif call.deadline is not None and not call.method.streaming:
            call.limit = (call.deadline - self._clock()) / (left + 1)
            call.keep_late = True
            call.conclusive = self.conclusive

    def may_abandon(self, _: Call) -> bool:
        """Whether an attempt that takes too long may be followed by another one."""
        return self.budget.available()

    def conclusive(self, failure: Failure) -> bool:
        """Whether the failure of an attempt that was left running is the call's answer."""
        return classify(failure) is Verdict.CALLER

    def delay(self, call: Call, failure: Failure, backoffs: int) -> float | None:
        """Seconds to wait before the next attempt; None = there is no next one."""
        if not self.retryable(call, failure):
            return None
        if reason := _forbidden(call, failure):
            call.note(f"not retried: {reason}")
            return None
        if call.attempt >= self.policy.max_attempts:
            if failure.refusal is not None:
                call.note(f"looked for an instance {call.attempt} times, with back-off")
            elif call.attempt > 1:
                free = " beside those that nobody ran" if call.free else ""
                call.note(f"not retried: {call.attempt} attempts were made{free}, the most allowed")
            return None
        delay = self.pause(failure, backoffs)
        if delay > MOST_PAUSE:
            call.note(f"not retried: the server asked to wait {delay:g} s, over {MOST_PAUSE:g} s")
            return None
        if call.deadline is not None and self._clock() + delay >= call.deadline:
            call.note(f"not retried: the deadline would pass during the wait of {delay:.3f} s")
            return None
        if failure.refusal is None and not self.budget.spend():
            call.note("not retried: the retry budget is spent")
            return None
        return delay

    def pause(self, failure: Failure, backoffs: int) -> float:
        """Seconds to wait before the next attempt."""
        if failure.limit or classify(failure) is Verdict.ABSENT:
            return 0.0  # it has been waited for long enough, or waiting would change nothing
        if failure.pushback is not None:
            return failure.pushback
        return self.policy.backoff(backoffs, self._random)

    def left_over(self, call: Call) -> str:
        """What a call that failed had left, in words."""
        budget = f"{self.budget.left:.1f} retries of the budget"
        if call.deadline is None:
            return f"left then: {budget}; no deadline"
        time, whole = call.deadline - self._clock(), call.deadline - call.started
        return f"left then: {max(time, 0.0):.3f} s of {whole:.3f} s, {budget}"

    def retryable(self, call: Call, failure: Failure) -> bool:
        """Whether another attempt is safe, and may end better."""
        verdict = classify(failure)
        if failure.refusal is not None:
            return failure.code is StatusCode.UNAVAILABLE
        if lacks(failure) and not call.committed and not _may_be_elsewhere(call):
            call.note(
                f"not retried: none of the {len(call.lacking)} that were asked has the method"
            )
            return False
        if not_executed(failure):
            return verdict in (Verdict.REFUSED, Verdict.OVERLOAD, Verdict.ABSENT)
        listed = failure.limit or failure.code in self.policy.codes or verdict in ELSEWHERE
        if listed or failure.stop:
            self.budget.failure()
        if not listed:
            if verdict in _UNLISTED and self._could_retry(call):
                call.note(f"not retried: {failure.code.name} is not one of the policy's codes")
            return False
        if call.method.idempotent or self.policy.non_idempotent:
            return True
        call.note(f"not retried: {call.method.name} may have been run and is not marked idempotent")
        return False

    def _could_retry(self, call: Call) -> bool:
        """Whether the policy knows retries at all, and the call has time for one."""
        timely = call.deadline is None or self._clock() < call.deadline
        return timely and self.policy.max_attempts > 1


def _forbidden(call: Call, failure: Failure) -> str | None:
    """Why there must not be another attempt, whatever the policy says; None = there may."""
    if call.alone and failure.refusal is None:
        return "a caller further up is trying again already"
    if call.committed:
        return "more requests had been sent than are kept for another attempt"
    if failure.stop:
        return "the server asked not to be tried again"
    return None


def _may_be_elsewhere(call: Call) -> bool:
    """Whether there is sense in looking on for an instance that has the method."""
    return len(call.lacking) <= UNSENT_RETRIES and len(call.lacking) < len(call.tried)


def retry(policy: RetryPolicy, budget: Budget, clock: Clock, random: Random) -> Layer:
    """Attempt a call again as ``policy`` and ``budget`` allow, each time at another endpoint.

    A method that its contract does not mark idempotent is attempted again only if the server
    provably did not run it, unless the policy says otherwise expressly.
    """
    retrier = Retrier(policy, budget, clock, random)

    def layer(inner: Handler) -> Handler:
        return partial(attempts, inner, retrier)

    return layer


def attempts(inner: Handler, retrier: Retrier, call: Call) -> Plan:
    """The plan of a call that may be attempted several times, as ``retrier`` decides."""
    retrier.budget.request()
    backoffs = 0
    lingering = False
    if call.alone:
        call.marks = (NO_RETRY,)
    try:
        while True:
            retrier.set_limit(call)
            outcome: Outcome = yield from inner(call)
            if outcome.ok:
                break
            lingering = lingering or outcome.pending is not None
            free = call.free < UNSENT_RETRIES and _free(call, outcome)
            _elsewhere_next(call, outcome, free)
            if free:
                call.free += 1
            else:
                delay = retrier.delay(call, outcome, backoffs)
                if delay is None:
                    if lingering:
                        yield Linger()
                    call.note(retrier.left_over(call))
                    return outcome
                backoffs = 0 if outcome.pushback is not None else backoffs + 1
                if delay > 0:
                    yield Sleep(delay)
                call.attempt += 1
                call.marks = ((NUMBER, str(call.attempt)), NO_RETRY)
    except LateAnswer as late:
        outcome = late.outcome
    if outcome.ok:
        retrier.budget.success()
    else:
        call.note(retrier.left_over(call))
    return outcome


def _elsewhere_next(call: Call, failure: Failure, free: bool) -> None:
    endpoint = call.endpoint
    if endpoint is not None and endpoint not in call.tried:
        call.tried += (endpoint,)
    if endpoint is not None and endpoint not in call.lacking and lacks(failure):
        call.lacking += (endpoint,)
    # For nothing nobody is asked again: where all have been tried this is the answer.
    call.absent = failure if free and failure.sent else None


def _free(call: Call, failure: Failure) -> bool:
    """Whether it never left the client, or no method was there to run, so that making it again
    costs nobody anything."""
    if call.committed or call.endpoint is None or failure.refusal is not None:
        return False  # nobody was asked: a refusal, or all have been tried
    return not failure.sent or lacks(failure)
