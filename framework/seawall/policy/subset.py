"""Subsets: which of many instances one client connects to."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Final, NamedTuple

from seawall.call import JSON, ZONE, fact_of, is_paused
from seawall.fields import MOST
from seawall.records import Record

SIZE: Final = 20
"""Instances that a client uses, if there are more. Google's range is 20 to 100 ("Site Reliability
Engineering", chapter 20), gRPC's default 10. It bounds the connections, and what a change costs."""

ALL: Final = MOST
"""The size of a subset that is everybody."""

LEAST: Final = 2
"""Instances of each kind that are used, if there are as many: one to call, one to call again."""


class SubsetPolicy(Record):
    """``seawall.subset`` of the service config."""

    size: int = SIZE
    """How many instances are used, paused ones not counted."""
    client: int | None = None
    """This client's number among all of its kind (0, 1, 2...): then subsets overlap evenly. None =
    by chance, as in gRFC A68."""


class Parting(Record):
    """By what the instances differ that a subset has to have some of each of."""

    labels: tuple[str, ...] = ()
    """Facts, such as ``version``: those with the same values are of one kind, and ``LEAST`` of each
    kind are used."""
    zone: str = ""
    """The caller's own: of each kind its instances count as many as those of all other zones
    together, if they are fewer, and the others are in proportion. Empty = zones don't matter."""


WHOLE: Final = Parting()


class Subset:
    """Orders addresses so that the first ones are this client's own.

    Without a number the order is by a hash of ``seed`` and address (rendezvous hashing, as gRFC
    A68 does), and an instance that comes or goes changes only the subsets that it is in.

    With one, addresses stand on a ring in the order of their own hashes, and the client at the
    binary van der Corput point of its number ("Rocksteadier subsetting" uses that sequence): each
    instance gets as many clients as any other, give or take a few, whatever the number of
    clients. The price is that an instance that comes or goes moves many subsets on by one place.

    With a ``parting`` each part has an order of its own, and its share of the subset, by
    Sainte-Laguë's quotients.
    """

    def __init__(self, policy: SubsetPolicy, seed: str, parting: Parting = WHOLE) -> None:
        self.size = policy.size
        self._salt = seed.encode() if policy.client is None else b""
        self._start = 0.0 if policy.client is None else van_der_corput(policy.client)
        self._labels = (*parting.labels, ZONE) if parting.zone else parting.labels
        self._zone = parting.zone
        self._parts: dict[tuple[str, ...], _Part] = {}
        """By the values of the labels."""
        self._places: dict[str, tuple[tuple[str, ...], bool]] = {}
        """By address: in which part, and whether it is paused."""

    def __len__(self) -> int:
        return len(self._places)

    def put(self, address: str, facts: Mapping[str, JSON] | None = None) -> None:
        """Have an address, with these facts about it."""
        facts = facts or {}
        labels = tuple([fact_of(facts, label) for label in self._labels])
        place = labels, is_paused(facts)
        if self._places.get(address) == place:
            return
        self.remove(address)
        self._places[address] = place
        part = self._parts.get(labels)
        if part is None:
            part = self._parts[labels] = _Part(self._rank("\0".join(labels)))
        part.add((self._rank(address), address), paused=place[1])

    def remove(self, address: str) -> None:
        """Have it no more, if it was there."""
        labels, paused = self._places.pop(address, ((), None))
        if paused is None:
            return
        part = self._parts[labels]
        part.remove((self._rank(address), address), paused=paused)
        if not part.ring:
            del self._parts[labels]

    def first(self, count: int) -> dict[str, float]:
        """The first addresses in this client's order: ``count`` that are not paused, and those
        paused that stand among them.

        With each stands how many of its part it stands for.
        """
        if count >= len(self._places):
            parts = self._parts.values()
            return dict.fromkeys([address for part in parts for _, address in part.ring], 1.0)
        active = [part for part in self._parts.values() if part.active]
        if len(active) == 1:
            return dict.fromkeys(active[0].first(count, self._start), 1.0)
        found: dict[str, float] = {}
        if not active:  # all are paused: these may be the first to be back
            for part in self._parts.values():
                found |= dict.fromkeys(part.first(count - len(found), self._start), 1.0)
        for part, seats in self._seats(count):
            found |= dict.fromkeys(part.first(seats, self._start), part.active / seats)
        return found

    def _seats(self, count: int) -> Iterator[tuple[_Part, int]]:
        """How many of ``count`` fall to each part; those to which none does are left out."""
        kinds: dict[tuple[str, ...], dict[str, _Part]] = {}
        for labels, part in self._parts.items():
            *kind, zone = labels if self._zone else (*labels, "")
            if part.active:
                kinds.setdefault(tuple(kind), {})[zone] = part
        sizes = [sum([part.active for part in zones.values()]) for zones in kinds.values()]
        claims = [
            _Claim(size, size, LEAST, min([part.tie for part in zones.values()]))
            for size, zones in zip(sizes, kinds.values(), strict=True)
        ]
        for zones, seats in zip(kinds.values(), _shares(claims, count), strict=True):
            yield from self._by_zone(zones, seats)

    def _by_zone(self, zones: dict[str, _Part], count: int) -> Iterator[tuple[_Part, int]]:
        near = zones[self._zone].active if self._zone in zones else 0
        far = sum([part.active for part in zones.values()]) - near
        claims = [
            _Claim(max(near, far), near, LEAST, part.tie)
            if zone == self._zone
            else _Claim(part.active, part.active, 0, part.tie)
            for zone, part in zones.items()
        ]
        for part, seats in zip(zones.values(), _shares(claims, count), strict=True):
            if seats:
                yield part, seats

    def _rank(self, address: str) -> int:
        from hashlib import blake2b  # loads OpenSSL, in a tenth of what all of seawall takes

        data = address.encode(errors="surrogatepass")  # facts are anybody's
        digest = blake2b(data, digest_size=8, key=self._salt[:64]).digest()
        return int.from_bytes(digest)


class _Part:
    """Addresses that are alike, in this client's order."""

    __slots__ = ("active", "paused", "ring", "tie")

    def __init__(self, tie: int) -> None:
        self.tie = tie
        """Who comes first of two parts to which the same is due: other parts for other clients."""
        self.ring: list[tuple[int, str]] = []
        self.paused: set[str] = set()
        self.active = 0
        """How many are not paused."""

    def add(self, place: tuple[int, str], *, paused: bool) -> None:
        insort(self.ring, place)
        if paused:
            self.paused.add(place[1])
        else:
            self.active += 1

    def remove(self, place: tuple[int, str], *, paused: bool) -> None:
        del self.ring[bisect_left(self.ring, place)]
        if paused:
            self.paused.discard(place[1])
        else:
            self.active -= 1

    def first(self, count: int, start: float) -> list[str]:
        """The first ones: ``count`` that are not paused, and up to as many that are."""
        ring, at = self.ring, int(start * len(self.ring))
        if self.paused:
            return list(self._up_to(count, at))
        found = ring[at : at + count]
        return [address for _, address in found + ring[: count - len(found)]]

    def _up_to(self, count: int, at: int) -> Iterator[str]:
        left, left_paused = min(count, self.active), count
        for _, address in self.ring[at:] + self.ring[:at]:
            if address in self.paused:
                if left_paused:
                    left_paused -= 1
                    yield address
            else:
                left -= 1
                yield address
            if not left and (self.active or not left_paused):
                break


class _Claim(NamedTuple):
    """What a part has a right to."""

    weight: float
    most: int
    """How many it has."""
    least: int
    """It has so many before anybody has more."""
    tie: int


def _shares(claims: list[_Claim], count: int) -> list[int]:
    """How many of ``count`` fall to each: the least first, then in proportion to the weights."""

    def due(number: int) -> tuple[bool, float, int, int]:
        claim, taken = claims[number], shares[number]
        return taken >= claim.least, -claim.weight / (2 * taken + 1), claim.tie, number

    shares = [0] * len(claims)
    queue = [due(number) for number in range(len(claims))]
    heapify(queue)
    for _ in range(min(count, sum([claim.most for claim in claims]))):
        number = queue[0][-1]
        shares[number] += 1
        if shares[number] < claims[number].most:
            heapreplace(queue, due(number))
        else:
            heappop(queue)
    return shares


def van_der_corput(number: int) -> float:
    """The ``number``-th point of the sequence 0, 1/2, 1/4, 3/4, 1/8, 5/8...: each falls into the
    middle of the widest gap that the earlier ones have left."""
    point, part = 0.0, 0.5
    while number:
        point += part * (number & 1)
        number >>= 1
        part /= 2
    return point
