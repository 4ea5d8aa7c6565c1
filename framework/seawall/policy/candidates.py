"""Which endpoints a call may go to, and what to say when there are none."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import Any

from grpc import StatusCode

from seawall.call import Call, Endpoint, Failure
from seawall.clock import Clock
from seawall.errors import CircuitOpen, NoEndpoints, Refused
from seawall.policy.group import Group
from seawall.policy.plan import Await, Effect

FIRST_LIST_TIMEOUT = 4.0
"""Seconds that a call waits for the registry's first list, at most."""

CONNECT_TIMEOUT = 4.0
"""Seconds that a call waits while instances are listed and none has yet been tried, at most."""


def await_candidates(
    call: Call, group: Group, clock: Clock
) -> Generator[Effect, Any, Sequence[Endpoint] | Failure]:
    """Those that may be picked, once there are any; or why there is no sense in waiting."""
    since = now = clock()
    while not (found := (admitted := _admitted(group, now)) or _probeable(group)):
        refusal = _refusal(call, group, now, now - since)
        if refusal is not None:
            return refusal
        yield Await(_patience(call, group, now, now - since))
        now = clock()
    if not admitted:
        call.note(_all_barred(group))
    elif len(admitted) < len(group.ready):
        call.note(_left_out(group, admitted))
    if call.tried:
        untried = [e for e in found if e not in call.tried]
        if not untried and call.absent is not None:
            return (yield from _newcomers(call, group, clock, call.absent))
        return untried or [e for e in found if e not in call.lacking] or found
    return found


def _newcomers(
    call: Call, group: Group, clock: Clock, absent: Failure
) -> Generator[Effect, Any, Sequence[Endpoint] | Failure]:
    """Those that are connected while some may yet be; ``absent`` if nobody comes.

    A client's first call goes to whichever address is connected first.
    """
    until = clock() + CONNECT_TIMEOUT
    if call.deadline is not None:
        until = min(until, call.deadline)
    while True:
        now = clock()
        found = _admitted(group, now) or _probeable(group)
        untried = [e for e in found if e not in call.tried]
        if untried or now >= until or all(e.settled or e.paused for e in group.endpoints):
            return untried or absent
        yield Await(max(0.001, until - now))


def _admitted(group: Group, now: float) -> Sequence[Endpoint]:
    """Those that neither their breaker nor outlier detection bars."""
    ready = group.ready
    # Nobody else is ejected, or has a breaker that is not closed: with thousands of instances,
    # asking each would cost every call milliseconds while one of them is ill.
    barred = {e for e in group.tripped if e.ejected or not e.breaker.admits(now)}
    if not barred:
        return ready
    left = [e for e in ready if e not in barred]
    if 2 * len(left) < len(ready):
        left = [e for e in _unejected(ready) if e.breaker.admits(now)]
    return left


def _probeable(group: Group) -> Sequence[Endpoint]:
    """Those that a call may go to when all are barred, to find out.

    Perhaps not they were at fault but the way there, or this process. Were the open times waited
    for, a moment's trouble would become seconds of refusals; so each is probed at once, one call
    at a time, and the first answer closes its breaker.
    """
    return [e for e in group.ready if e.breaker.probeable]


def _all_barred(group: Group) -> str:
    ejected = any(e.ejected for e in group.ready)
    state = "are ejected or have open breakers" if ejected else "have open breakers"
    return f"all {len(group.ready)} connected instances {state}: each is probed"


def _left_out(group: Group, admitted: Sequence[Endpoint]) -> str:
    chosen = set(admitted)
    out = islice((e for e in group.ready if e not in chosen), 5)
    named = ", ".join(f"{e.address} ({'ejected' if e.ejected else 'breaker open'})" for e in out)
    count = len(group.ready) - len(admitted)
    return f"{count} of {len(group.ready)} connected instances left out: {named}"


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
            f"all {len(group)} listed instances of {service} are paused: they want no calls until "
            "they are resumed (or have a weight above 0)"
        )
    listed = ", ".join(_trouble(e) for e in known[:5])
    if group.problem:
        listed += f"; and the list may be old: {group.problem}"
    count, rest = len(group), len(group) - len(known)
    tried = f"the {len(known)} that were tried" if rest > 0 else "none"
    verdict = "can't be connected" if rest > 0 else "can be connected"
    return NoEndpoints, f"{count} instances of {service} are listed and {tried} {verdict}: {listed}"


def _trouble(endpoint: Endpoint) -> str:
    trouble = "paused" if endpoint.paused else endpoint.problem or "not connected yet"
    return f"{endpoint.address} ({trouble})"
