"""A channel's state, from those of the services that are called on it."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import ChannelConnectivity

from seawall.policy.group import Group


def state_of(groups: Sequence[Group]) -> ChannelConnectivity:
    """READY if every service has a connected instance, TRANSIENT_FAILURE if one has none and all
    its instances were tried."""
    if all(group.ready for group in groups):
        return ChannelConnectivity.READY
    if any(g.resolved and all(e.settled for e in g.endpoints) for g in groups if not g.ready):
        return ChannelConnectivity.TRANSIENT_FAILURE
    return ChannelConnectivity.CONNECTING
