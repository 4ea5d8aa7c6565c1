"""Hedging: a second attempt beside a first that takes long, and the first answer wins."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

from seawall.call import Call, Failure
from seawall.clock import Clock, Random
from seawall.policy.budget import Budget
from seawall.policy.classify import lacks, not_executed
from seawall.policy.percentile import Percentile
from seawall.policy.plan import Handler, Layer, Plan
from seawall.policy.retry import Retrier, RetryPolicy, attempts
from seawall.records import Record

OPTION: Final = "hedge"


class HedgePolicy(Record):
    """``hedgingPolicy`` of the service config (gRFC A6), and seawall's ``hedge``.

    "The Tail at Scale" (Dean and Barroso, 2013) advises to wait for the 95th percentile and to
    keep hedges below 5 % of the calls: that is the default here.
    """

    max_attempts: int = 2
    """Including the first."""
    delay: float | None = None
    """Seconds until an attempt that has not been answered gets another beside it; None = as long
    as ``percentile`` says, and no hedge until enough calls are known to reckon it."""
    percentile: float = 0.95
    non_fatal: frozenset[StatusCode] = frozenset({StatusCode.UNAVAILABLE})
    """Failures with these codes are no answer: the next attempt begins at once. Any other failure
    ends the call, as an answer does."""


class Hedger(Retrier):
    """A retrier whose attempts don't wait for each other's end."""

    def __init__(
        self,
        policy: HedgePolicy,
        budget: Budget,
        clock: Clock,
        random: Random,
        usual: Percentile,
    ) -> None:
        super().__init__(
            RetryPolicy(max_attempts=policy.max_attempts, codes=policy.non_fatal),
            budget,
            clock,
            random,
        )
        self.delay_of_hedge = policy.delay
        self.usual = usual

    def set_limit(self, call: Call) -> None:
        call.limit = None
        delay = self.usual.value if self.delay_of_hedge is None else self.delay_of_hedge
        if delay is None or self.left(call) <= 0:
            return
        call.limit = delay
        call.keep_late = call.eager = True
        call.abandon = self.may_abandon
        call.conclusive = self.conclusive

    def retryable(self, call: Call, failure: Failure) -> bool:
        return failure.limit or super().retryable(call, failure)

    def conclusive(self, failure: Failure) -> bool:
        return not (not_executed(failure) or failure.code in self.policy.codes)

    def pause(self, failure: Failure, backoffs: int) -> float:
        if failure.refusal is not None:
            return super().pause(failure, backoffs)
        return 0.0 if lacks(failure) else failure.pushback or 0.0


def hedge(
    policy: HedgePolicy | None,
    plain: Layer,
    budget: Budget,
    clock: Clock,
    random: Random,
    usual: Percentile | None = None,
) -> Layer:
    """Hedge calls as ``policy`` says, or as the option ``hedge`` of a call does.

    Stands in the place of ``plain``, which retries: it takes the calls that are not hedged. Those
    are all without a policy and an option, and those of methods that are not idempotent, as two
    instances work on the same call, or that stream. ``usual`` is what is known already of how long
    hedged calls take.
    """
    given = policy or HedgePolicy()
    known = Percentile(given.percentile) if usual is None else usual
    asked = Hedger(given, budget, clock, random, known)
    always = None if policy is None else asked

    def chosen(call: Call) -> Hedger | None:
        option = None if call.options is None else call.options.get(OPTION)
        if option is None:
            return always
        if option is True or option is False:
            return asked if option else None
        return Hedger(given.changed(delay=option), budget, clock, random, known)

    def layer(inner: Handler) -> Handler:
        retried = plain(inner)

        def handler(call: Call) -> Plan:
            hedger = chosen(call)
            if hedger is None or call.method.streaming or not call.method.idempotent:
                if hedger is not None and hedger is not always:
                    call.note(f"not hedged: {call.method.name} streams or is not idempotent")
                return retried(call)
            return _hedged(inner, hedger, call, clock)

        return handler

    return layer


def _hedged(inner: Handler, hedger: Hedger, call: Call, clock: Clock) -> Plan:
    started = clock()
    outcome = yield from attempts(inner, hedger, call)
    if outcome.ok:
        # If a hedge was faster this is less than the first attempt would have taken; but more
        # than the percentile, which it is only compared with.
        hedger.usual.observe(clock() - started)
    return outcome
