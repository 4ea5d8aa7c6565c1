"""A ring of hashes (gRFC A42): the same key goes to the same endpoint."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import ceil, log2

from seawall.balancer.snapshot import capacity
from seawall.balancer.xxh64 import xxh64
from seawall.call import Endpoint


class Ring:
    """Points by the hashes of each endpoint's address; a key belongs to the next point.

    An endpoint has points in proportion to its weight, as many as make the ring ``least`` points
    long or up to twice that, and not above ``most``. The number for a weight of 1 is a power of
    two, where gRPC takes just as many as fill ``least``: so when one endpoint goes the others
    keep all their points and all their keys, unless the sum of the weights passes a limit. Slow
    start is left out: keys that come bit by bit would each find a cold cache.
    """

    __slots__ = ("_hashes", "_owners", "endpoints", "weights")

    def __init__(self, endpoints: Iterable[Endpoint], least: int, most: int) -> None:
        self.endpoints = frozenset(endpoints)
        self.weights = capacity(self.endpoints)
        unit = _points_of_one(self.weights, least, most)
        points = [
            (point, endpoint.address, endpoint)
            for endpoint in self.endpoints
            for point in _points(endpoint, max(1, round(unit / endpoint.fair_share)))
        ]
        points.sort(key=lambda point: point[:2])
        self._hashes = [point[0] for point in points]
        self._owners = [point[2] for point in points]

    def after(self, key: int) -> Iterable[Endpoint]:
        """The owners of the points from ``key`` on, once round."""
        owners, start = self._owners, bisect_left(self._hashes, key)
        for index in range(start, len(owners)):
            yield owners[index]
        for index in range(start):
            yield owners[index]


class _Points:
    """The hashes of an endpoint's points so far, in ``endpoint.state``: most outlive the ring."""

    __slots__ = ("hashes",)

    def __init__(self) -> None:
        self.hashes: list[int] = []


def _points(endpoint: Endpoint, count: int) -> Sequence[int]:
    state = endpoint.state
    if not isinstance(state, _Points):
        state = endpoint.state = _Points()
    hashes = state.hashes
    for number in range(len(hashes), count):
        hashes.append(xxh64(f"{endpoint.address}_{number}".encode()))
    return hashes[:count]


def _points_of_one(weights: float, least: int, most: int) -> float:
    unit: float = 2.0 ** ceil(log2(least / weights))
    return unit if unit * weights <= most else unit / 2.0
