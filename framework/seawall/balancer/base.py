"""What a balancer is, apart from which ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from seawall.call import Call, Endpoint, LoadReport
from seawall.clock import Clock, Random
from seawall.records import Record


class Balancer(Protocol):
    """Chooses an endpoint for each attempt. Derive from it and write ``pick``; the rest may stay.

    One object serves one service on one channel. ``pick`` is called for every attempt, must not
    block and costs O(candidates) at most. What it needs to know about an endpoint is on it:
    ``outstanding``, ``latency``, ``instance.metadata``; and what it learns about one it keeps in
    ``endpoint.state``, so that it is forgotten with the endpoint.
    """

    __slots__ = ()

    reports_from: int | None = None
    """From how many candidates on load reports are asked for, and ``report`` is called. None, and
    fewer candidates, spare every call the trailers, and its server the making of them."""

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """Choose one of ``candidates``: connected, admitted by their breakers, never empty.

        A tuple is a snapshot, the same object for as long as nothing changes, so what is worked
        out from it may be kept. Anything else is a selection made for this one pick.
        """
        ...

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        """An answer of ``endpoint`` has come with ``load``; ``now`` is on the balancer's clock.

        For a unary call it still counts in ``endpoint.outstanding``, as it does in the report's
        ``in_flight``.
        """
        return


class BalancerPolicy(Protocol):
    """A balancer as configured: immutable, and made into one balancer for each service."""

    @property
    def name(self) -> str:
        """What ``loadBalancingConfig`` calls it."""

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        """A balancer of its own. ``zone`` is the caller's; empty = not known."""


class Needs(Record):
    """What a balancer needs of the subset of the instances that its client uses."""

    everyone: bool = False
    """All of them, unless the config says how many."""
    kinds: tuple[str, ...] = ()
    """Facts, such as ``version``: some instances of each of their values."""
    near: bool = False
    """Of the caller's own zone more than of others."""


_NOTHING: Final = Needs()


def needs_of(policy: BalancerPolicy) -> Needs:
    """The ``needs`` of a balancer policy: an attribute that it may have."""
    needs: Needs = getattr(policy, "needs", _NOTHING)
    return needs
