"""The balance layer: where an attempt goes, and what its endpoint learns from how it went."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Protocol

from grpc import StatusCode

from seawall.call import Call, Endpoint, Failure, Outcome
from seawall.clock import Clock
from seawall.errors import CircuitOpen, NoEndpoints, Refused
from seawall.policy.breaker import State
from seawall.policy.classify import Verdict, classify
from seawall.policy.group import Group
from seawall.policy.plan import Await, Effect, Handler, Layer, Plan, Send, send

ERROR_LATENCY = 1.0
"""Seconds that a failed attempt counts as, at least: an instance that fails fast must not look
fast and attract traffic. With 1 of 50 instances failing in 1 ms, errors fall from 4 % to 0.00 %
(peak EWMA, simulated)."""

FIRST_LIST_TIMEOUT = 4.0
"""Seconds that a call waits for the registry's first list, at most."""

CONNECT_TIMEOUT = 4.0
"""Seconds that a call waits while instances are listed and none has yet been tried, at most."""


class Picker(Protocol):
    """What the layer needs of a balancer."""

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """Choose one of ``candidates``, which are never empty."""


def balance(group: Group, picker: Picker, clock: Clock) -> Layer:
    """Give each attempt an endpoint that is connected and that its breaker admits.

    It stands below retry, so that each attempt is a new pick, elsewhere than the earlier ones
    while there is an elsewhere. What comes of the attempt is told to the endpoint: its latency,
    its outstanding calls, its breaker.
    """

    def layer(inner: Handler) -> Handler:
        return partial(_balanced, group, picker, clock, None if inner is send else inner)

    return layer


def _balanced(
    group: Group, picker: Picker, clock: Clock, inner: Handler | None, call: Call
) -> Plan:
    candidates: Sequence[Endpoint] = group.ready
    if not candidates or call.tried or group.tripped:
        found = yield from _await_candidates(call, group, clock)
        if isinstance(found, Failure):
            call.endpoint = None
            return found
        candidates = found
    endpoint = call.endpoint = picker.pick(candidates, call)
    if len(candidates) == 1 and call.keep_late:
        call.abandon = partial(_elsewhere, call, group, call.abandon)
    endpoint.outstanding += 1
    started = clock()
    breaker = endpoint.breaker
    probe = breaker.state is not State.CLOSED and breaker.acquire(started)
    held = True
    try:
        if inner is None:  # nothing stands between here and the wire: a generator less
            outcome: Outcome = yield Send(call, endpoint)
        else:
            outcome = yield from inner(call)
        held = _has_ended(call, endpoint, outcome, started, clock)
        return outcome
    finally:
        if held:
            endpoint.outstanding -= 1
        if probe:
            breaker.release()


def _elsewhere(call: Call, group: Group, allowed: Callable[[], bool] | None) -> bool:
    """Whether there is an instance by now that has not been tried; asked when a share is spent."""
    others = (e for e in group.ready if e is not call.endpoint and e not in call.tried)
    return any(others) and (allowed is None or allowed())


def _has_ended(
    call: Call, endpoint: Endpoint, outcome: Outcome, started: float, clock: Clock
) -> bool:
    """Tell the endpoint how an attempt went.

    False if it goes on, as a stream or beside its successor; the endpoint is told of its end then.
    """
    now = clock()
    if outcome.ok:
        endpoint.answered = now
        endpoint.latency.observe(now - started, now)
        if endpoint.breaker.failures:
            endpoint.breaker.succeeded()
        if not call.method.response_streaming:
            return True
        call.when_ended(partial(_release, endpoint, started, clock))
        return False
    verdict = classify(outcome)
    if verdict is Verdict.CALLER:
        endpoint.latency.observe(now - started, now)
    elif verdict not in (Verdict.CANCELLED, Verdict.UNTOLD):
        hedged = outcome.limit and call.eager
        took = now - started if hedged else max(now - started, ERROR_LATENCY)
        endpoint.latency.observe(took, now)
    if outcome.pending is None:
        endpoint.breaker.learn(verdict, now)
        return True
    # Not judged before it is known whether it only takes long, as this method always does.
    outcome.pending.append(partial(_release, endpoint, started, clock))
    return False


def _release(endpoint: Endpoint, started: float, clock: Clock, end: Outcome) -> None:
    """What had been left running has ended."""
    endpoint.outstanding -= 1
    verdict, now = classify(end), clock()
    if verdict is Verdict.CANCELLED and not end.ok and end.limit:
        # Another attempt was faster: no wonder, unless nothing has come from here all the while.
        verdict = Verdict.FAULT if endpoint.answered < started else Verdict.UNTOLD
    endpoint.breaker.learn(verdict, now)
    if verdict is Verdict.FAULT:
        endpoint.latency.observe(ERROR_LATENCY, now)


def _await_candidates(
    call: Call, group: Group, clock: Clock
) -> Generator[Effect, Any, Sequence[Endpoint] | Failure]:
    """Those that may be picked, once there are any; or why there is no sense in waiting."""
    since = now = clock()
    while not (candidates := _candidates(call, group, now)):
        refusal = _refusal(call, group, now, now - since)
        if refusal is not None:
            return refusal
        yield Await(_patience(call, group, now, now - since))
        now = clock()
    return candidates


def _candidates(call: Call, group: Group, now: float) -> Sequence[Endpoint]:
    admitted = [e for e in _unejected(group.ready) if e.breaker.admits(now)]
    if not admitted:
        # All are open: perhaps not they were at fault but the way there, or this process. Were
        # the open times waited for, a moment's trouble would become seconds of refusals; so each
        # is probed at once, one call at a time, and the first answer closes its breaker.
        admitted = [e for e in group.ready if e.breaker.probeable]
    if call.tried:
        return [e for e in admitted if e not in call.tried] or admitted
    return admitted


def _unejected(ready: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that outlier detection has left; all, if it has not left half of them.

    Envoy's panic rule: when most look ill it is not they that are, and the rest could not take
    the load of all.
    """
    left = [e for e in ready if not e.ejected]
    return left if 2 * len(left) >= len(ready) else ready


def _refusal(call: Call, group: Group, now: float, waited: float) -> Failure | None:
    """Why there is nowhere to send the call; None while waiting for it makes sense."""
    if call.deadline is not None and now >= call.deadline:
        return _refuse(group, StatusCode.DEADLINE_EXCEEDED)
    if call.wait_for_ready or waited < _hope(group):
        return None
    return _refuse(group, StatusCode.UNAVAILABLE)


def _hope(group: Group) -> float:
    """For how many seconds it makes sense to wait for an endpoint, from the start of the wait."""
    if not group.resolved:
        # A registry that has just gone may be back in a moment.
        return FIRST_LIST_TIMEOUT if group.problem is None else FIRST_LIST_TIMEOUT / 2
    if not group.ready and any(not (e.settled or e.paused) for e in group.endpoints):
        return CONNECT_TIMEOUT
    return 0.0


def _patience(call: Call, group: Group, now: float, waited: float) -> float:
    """Seconds to wait for a change before looking again."""
    patience = 3600.0 if call.wait_for_ready else _hope(group) - waited
    if call.deadline is not None:
        patience = min(patience, call.deadline - now)
    return max(0.001, patience)


def _refuse(group: Group, code: StatusCode) -> Failure:
    kind, reason = _explain(group)
    return Failure(code, reason, sent=False, refusal=kind)


def _explain(group: Group) -> tuple[type[Refused], str]:
    service, known = group.service, group.endpoints
    if not group.resolved:
        problem = group.problem or "it has given no list of instances yet"
        return NoEndpoints, f"can't find {service}, as the registry does not help: {problem}"
    if not known:
        return NoEndpoints, (
            f"nobody serves {service}: the registry lists no instance of it. Is the service "
            "started, with the same SEAWALL_REGISTRY, and is the name the one in its proto?"
        )
    if group.ready:
        return CircuitOpen, (
            f"the breakers of all {len(group.ready)} connected instances of {service} are open and "
            "each is being probed: "
            + ", ".join(f"{e.address} ({e.breaker.failures} in a row)" for e in group.ready[:5])
        )
    if all(e.paused for e in known):
        return NoEndpoints, (
            f"all {len(known)} listed instances of {service} are paused: they want no calls until "
            "they are resumed (or have a weight above 0)"
        )
    listed = ", ".join(_trouble(e) for e in known[:5])
    if group.problem:
        listed += f"; and the list may be old: {group.problem}"
    return NoEndpoints, (
        f"{len(known)} instances of {service} are listed and none can be connected: {listed}"
    )


def _trouble(endpoint: Endpoint) -> str:
    trouble = "paused" if endpoint.paused else endpoint.problem or "not connected yet"
    return f"{endpoint.address} ({trouble})"
