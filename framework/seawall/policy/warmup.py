"""Slow start: who is new, or back, takes less than its share at first."""

from __future__ import annotations

from seawall.policy.group import Group
from seawall.records import Record


class SlowStartPolicy(Record):
    """``seawall.slowStart``; the formula and its fields are Envoy's ``slow_start_config``.

    For services whose caches or compilers have to warm up. An instance that was connected
    ``age`` seconds ago weighs (age / window) ** (1 / aggression) of its weight, and
    ``least_weight`` at least.
    """

    window: float
    """Seconds."""
    aggression: float = 1.0
    """1 = linear; more = faster at first."""
    least_weight: float = 0.1


def warm(group: Group, policy: SlowStartPolicy, now: float) -> None:
    """Give each endpoint that is new the share of its age. Called while there is any."""
    for endpoint in tuple(group.warming):
        if endpoint.since is None:
            endpoint.since = now
        age = now - endpoint.since
        if age >= policy.window:
            group.warming.discard(endpoint)
            endpoint.share = endpoint.fair_share
        else:
            part = (age / policy.window) ** (1.0 / policy.aggression)
            endpoint.share = endpoint.fair_share / max(part, policy.least_weight)


def end_warm_up(group: Group) -> None:
    """Have all that are warming up take their whole share: there is no slow start any more."""
    for endpoint in group.warming:
        endpoint.share = endpoint.fair_share
    group.warming.clear()
