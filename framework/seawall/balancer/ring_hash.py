"""Affinity: the same key to the same endpoint while that one has no more than its part."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import ClassVar, Final

from seawall.balancer.base import Balancer, Needs
from seawall.balancer.ring import Ring
from seawall.balancer.snapshot import capacity
from seawall.balancer.xxh64 import xxh64
from seawall.call import Call, Endpoint
from seawall.clock import Clock, Random
from seawall.records import Record

RING_CAP: Final = 4096
"""A ring has no more points than this, whatever the config says (gRFC A42)."""
HASH_KEY: Final = "hash_key"
"""The option of a call that is its key."""
_SHARE: Final = 64
"""The sum of the calls outstanding is reckoned anew after a pick for each so many instances: each
time up to 63 of them, and for more a pick still costs the same."""
_ROUNDING: Final = 1e-9
"""So much above a whole number is not one more."""


class RingHashPolicy(Record):
    """``ring_hash_experimental``; names and defaults are gRPC's (A42, A76) but for the last."""

    name: ClassVar[str] = "ring_hash_experimental"
    least: int = 1024
    """``minRingSize``, in points."""
    most: int = 4096
    """``maxRingSize``, in points."""
    header: str = ""
    """``requestHashHeader``: the metadata key whose value is the key of a call that has no
    ``hash_key``; several values count as one, joined by commas."""
    bound: float | None = 1.25
    """``boundedLoadFactor``: how many times the mean of the outstanding calls an endpoint may
    have, rounded up (arXiv 1608.01350, with its epsilon at the customary 0.25). None = no bound."""

    @property
    def needs(self) -> Needs:
        """Everybody: clients whose instances differ would look for a key in different places."""
        return Needs(everyone=True)

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return RingHash(random, self)


class RingHash(Balancer):
    """A ring of hashes with bounded load.

    The key is the call's option ``hash_key``, else the header that the policy names, else chance.
    From the key's place on, the first endpoint that has room is taken: one more call of this
    client, and it has no more than ``bound`` times its part of all that are outstanding.

    An endpoint that is out of the candidates for a while, as its breaker is open or as it was
    tried before, keeps its place in the ring: only its keys go elsewhere, and they come back.
    """

    __slots__ = ("_policy", "_random", "_ring", "_snapshot", "_sum", "_sum_good_for")

    def __init__(self, random: Random, policy: RingHashPolicy | None = None) -> None:
        self._random = random
        self._policy = policy or RingHashPolicy()
        self._snapshot: Sequence[Endpoint] | None = None
        self._ring: Ring | None = None
        self._sum = 0
        self._sum_good_for = 0
        """Picks for which the sum of outstanding calls need not be reckoned anew."""

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        if len(candidates) == 1:
            return candidates[0]
        key = self._key(call)
        if candidates is self._snapshot and self._ring is not None:
            ring, members = self._ring, None
            weights = ring.weights
        else:
            ring, members = self._ring_of(candidates)
            weights = capacity(candidates)
        room: float | None = None
        for endpoint in ring.after(key):
            if members is not None and endpoint not in members:
                continue
            if not endpoint.outstanding or self._policy.bound is None:
                return endpoint  # room for one there always is: most need not look at all others
            if room is None:
                room = self._room(candidates, weights, self._policy.bound)
            if endpoint.outstanding < ceil(room / endpoint.fair_share - _ROUNDING):
                return endpoint
        return candidates[key % len(candidates)]  # no bound is that tight, save by rounding

    def _key(self, call: Call) -> int:
        key = call.options.get(HASH_KEY) if call.options else None
        if key is None and (header := self._policy.header):
            values = [_bytes(value) for name, value in call.headers if name == header]
            key = b",".join(values) if values else None
        if key is None:
            return int(self._random() * 2.0**64)
        return xxh64(_bytes(key))

    def _ring_of(self, candidates: Sequence[Endpoint]) -> tuple[Ring, frozenset[Endpoint]]:
        members, whole = frozenset(candidates), isinstance(candidates, tuple)
        if whole or self._ring is None or not members <= self._ring.endpoints:
            self._snapshot = candidates if whole else None
            self._sum_good_for = 0
            self._ring = Ring(members, self._policy.least, self._policy.most)
        return self._ring, members

    def _room(self, candidates: Sequence[Endpoint], weights: float, bound: float) -> float:
        """How many calls an endpoint of weight 1 may have, with the one that is to be placed."""
        if self._sum_good_for <= 0:
            self._sum = sum([e.outstanding for e in candidates])
            self._sum_good_for = len(candidates) // _SHARE
        else:
            self._sum_good_for -= 1
        return bound * (1 + self._sum) / weights


def _bytes(key: object) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode(errors="surrogatepass")
