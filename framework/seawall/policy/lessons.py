"""What an endpoint, its breaker and the balancer learn from how attempts end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from grpc import StatusCode

from seawall.call import Call, Endpoint, Failure, LoadReport, Outcome
from seawall.clock import Clock
from seawall.policy.backpressure import Backpressure
from seawall.policy.breaker import State
from seawall.policy.classify import Verdict, classify, lacks
from seawall.policy.outlier import Outliers

ERROR_LATENCY = 1.0
"""Seconds that a failed attempt counts as, at least: an instance that fails fast must not look
fast and attract traffic. With 1 of 50 instances failing in 1 ms, errors fall from 4 % to 0.00 %
(peak EWMA, simulated). It is all that keeps calls from an instance that lacks the method, as no
breaker opens: with 1 of 3 there are 0.8 % more attempts (200 calls a second, simulated)."""

SUSPICION = 10.0
"""Seconds by which a fault puts an endpoint's next turn off while others are as free; doubled by
each further one in a row. Who takes longer than callers wait loses each call that tries it again:
in Linkerd's scenario (1 of 11 slow for 30 s, simulated) 5 of 16,000 without this, 2 with it."""

MOST_SUSPICION = 60.0

_NO_ANSWER = frozenset({StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE})
"""Codes that do not say that the server has worked on the request."""

LoadOf = Callable[[Outcome], LoadReport | None]


class Learner(Protocol):
    """What the lessons need of a balancer."""

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        """An answer of ``endpoint`` came with ``load``."""


class Lessons:
    """Tells everybody concerned how an attempt has gone.

    ``load_of`` reads the load report that came with an end.
    """

    __slots__ = ("_backpressure", "_balancer", "_clock", "_load_of", "_outliers")

    def __init__(
        self,
        balancer: Learner,
        clock: Clock,
        outliers: Outliers | None,
        load_of: LoadOf | None,
        backpressure: Backpressure | None = None,
    ) -> None:
        self._backpressure = backpressure
        self._balancer = balancer
        self._clock = clock
        self._outliers = outliers
        self._load_of = load_of

    def ended(self, call: Call, endpoint: Endpoint, outcome: Outcome, started: float) -> bool:
        """An attempt has come back with ``outcome``.

        False if it goes on, as a stream or beside its successor; its end is learned from then.
        """
        now = self._clock()
        if outcome.ok:
            if self._backpressure is not None and self._backpressure.wary:
                self._backpressure.answered()
            endpoint.answered = now
            endpoint.latency.observe(now - started, now)
            if endpoint.breaker.attentive:
                endpoint.breaker.succeeded(now)
            if call.method.response_streaming:
                call.when_ended(partial(self._released, call, endpoint, started))
                return False
            if self._outliers is not None or call.asks_load:
                self._learn(call, endpoint, outcome, Verdict.SUCCESS, now)
            return True
        return self._failed(call, endpoint, outcome, started, now)

    def _failed(
        self, call: Call, endpoint: Endpoint, failure: Failure, started: float, now: float
    ) -> bool:
        verdict = classify(failure)
        if verdict is Verdict.CALLER:
            endpoint.latency.observe(now - started, now)
        elif verdict not in (Verdict.CANCELLED, Verdict.UNTOLD):
            hedged = failure.limit and call.eager
            took = now - started if hedged else max(now - started, ERROR_LATENCY)
            endpoint.latency.observe(took, now)
        if failure.pending is not None:
            # Not judged before it is known whether it only takes long, as this method always does.
            failure.pending.append(partial(self._released, call, endpoint, started))
            return False
        if self._backpressure is not None:
            self._press(self._backpressure, failure, verdict)
        closed = endpoint.breaker.state is State.CLOSED
        endpoint.breaker.learn(verdict, now)
        if verdict is Verdict.FAULT:
            _suspect(endpoint)
        if closed and endpoint.breaker.state is State.OPEN:
            call.note(f"the breaker of {endpoint.address} opened: {endpoint.breaker.why}")
        self._learn(call, endpoint, failure, verdict, now)
        return True

    @staticmethod
    def _press(backpressure: Backpressure, failure: Failure, verdict: Verdict) -> None:
        if verdict is Verdict.OVERLOAD and failure.pushback is not None:
            backpressure.refused()
        elif backpressure.wary and failure.code not in _NO_ANSWER and not lacks(failure):
            backpressure.answered()

    def _released(self, call: Call, endpoint: Endpoint, started: float, end: Outcome) -> None:
        """What had been left running has ended."""
        endpoint.outstanding -= 1
        verdict, now, outrun = classify(end), self._clock(), False
        if verdict is Verdict.CANCELLED and not end.ok and end.limit:
            # Another attempt was faster: no wonder, unless nothing has come from here meanwhile.
            outrun = True
            verdict = Verdict.FAULT if endpoint.answered < started else Verdict.UNTOLD
        endpoint.breaker.learn(verdict, now)
        # A hedge begins early: a twentieth of all calls take longer than its delay, so only many
        # such in a row say something, and that is the breaker's business.
        if verdict is Verdict.FAULT and not (outrun and call.eager):
            endpoint.latency.observe(ERROR_LATENCY, now)
            _suspect(endpoint)
        self._learn(call, endpoint, end, verdict, now)

    def _learn(
        self, call: Call, endpoint: Endpoint, end: Outcome, verdict: Verdict, now: float
    ) -> None:
        if self._outliers is not None:
            self._outliers.observe(endpoint, verdict, now)
        if call.asks_load and self._load_of is not None:
            load = self._load_of(end)
            if load is not None:
                self._balancer.report(endpoint, load, now)


def _suspect(endpoint: Endpoint) -> None:
    """Try it again later and later, as long as it only fails."""
    doublings = min(endpoint.breaker.failures - 1, 10)
    endpoint.latency.suspend(min(SUSPICION * 2.0**doublings, MOST_SUSPICION))
