"""The balance layer: where an attempt goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from seawall.call import Call, Endpoint, Failure, Outcome
from seawall.clock import Clock
from seawall.policy.backpressure import Backpressure
from seawall.policy.breaker import State
from seawall.policy.candidates import await_candidates
from seawall.policy.group import Group
from seawall.policy.lessons import Learner, Lessons, LoadOf
from seawall.policy.outlier import Outliers
from seawall.policy.plan import Handler, Layer, Plan, Send, send
from seawall.policy.warmup import SlowStartPolicy, warm
from seawall.records import Record


class Picker(Learner, Protocol):
    """What the layer needs of a balancer."""

    reports_from: int | None

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """Choose one of ``candidates``, which are never empty."""


class _Balance(Record):
    """What all calls of a method pick with."""

    group: Group
    picker: Picker
    clock: Clock
    lessons: Lessons
    outliers: Outliers | None
    slow_start: SlowStartPolicy | None
    reports_from: int | None
    inner: Handler | None
    """None: nothing stands between here and the wire, which is a generator less."""


def balance(
    group: Group,
    picker: Picker,
    clock: Clock,
    *,
    outliers: Outliers | None = None,
    slow_start: SlowStartPolicy | None = None,
    load_of: LoadOf | None = None,
    backpressure: Backpressure | None = None,
) -> Layer:
    """Give each attempt an endpoint that is connected, not ejected, and admitted by its breaker.

    It stands below retry, so that each attempt is a new pick, elsewhere than the earlier ones
    while there is an elsewhere. What comes of the attempt is told to the endpoint (its latency,
    its outstanding calls, its breaker), to ``outliers``, and, if ``load_of`` finds a load report
    with it, to the balancer; ``backpressure`` hears of what was shed.
    """
    lessons = Lessons(picker, clock, outliers, load_of, backpressure)

    def layer(inner: Handler) -> Handler:
        below = None if inner is send else inner
        reports = None if load_of is None else picker.reports_from
        facts = _Balance(group, picker, clock, lessons, outliers, slow_start, reports, below)
        return partial(_balanced, facts)

    return layer


def _balanced(with_: _Balance, call: Call) -> Plan:
    group = with_.group
    started = with_.clock()
    if group.warming and with_.slow_start is not None:
        warm(group, with_.slow_start, started)
    candidates: Sequence[Endpoint] = group.ready
    if not candidates or call.tried or group.tripped:
        if with_.outliers is not None:
            with_.outliers.sweep(started)
        found = yield from await_candidates(call, group, with_.clock)
        if isinstance(found, Failure):
            call.endpoint = None
            return found
        candidates = found
        started = with_.clock()
    endpoint = _pick(with_, candidates, call)
    if not endpoint.outstanding:
        endpoint.busy_since = started
    endpoint.outstanding += 1
    breaker = endpoint.breaker
    probe = breaker.state is not State.CLOSED and breaker.acquire(started)
    held = True
    try:
        if with_.inner is None:
            outcome: Outcome = yield Send(call, endpoint)
        else:
            outcome = yield from with_.inner(call)
        held = with_.lessons.ended(call, endpoint, outcome, started)
        return outcome
    finally:
        if held:
            endpoint.outstanding -= 1
        if probe:
            breaker.release()


def _pick(with_: _Balance, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
    group, reports_from = with_.group, with_.reports_from
    call.considered = len(candidates)
    if reports_from is not None and len(group.ready) >= reports_from:
        call.asks_load = True
    endpoint = call.endpoint = with_.picker.pick(candidates, call)
    if len(candidates) == 1 and call.keep_late:
        call.abandon = partial(_elsewhere, group, call.abandon)
    return endpoint


def _elsewhere(group: Group, allowed: Callable[[Call], bool] | None, call: Call) -> bool:
    """Whether there is an instance by now that has not been tried; asked when a share is spent."""
    others = (e for e in group.ready if e is not call.endpoint and e not in call.tried)
    return any(others) and (allowed is None or allowed(call))
