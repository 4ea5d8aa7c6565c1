"""Least outstanding calls, ties by the better of two on peak EWMA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from seawall.balancer.base import Balancer
from seawall.call import Call, Endpoint
from seawall.clock import Clock, Random


class LeastLoaded(Balancer):
    """Scan all candidates for the fewest outstanding calls, in relation to their weights.

    Among those that tie, draw two and take the one with the lower latency estimate. The scan
    avoids an instance that is stuck (its calls pile up), the estimate one that is merely slow,
    and drawing two keeps many clients from choosing the same one at once (Mitzenmacher's power
    of two choices). Of two with unequal weights each is taken as often as its weight says.
    """

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        first = candidates[0]
        least = first.outstanding * first.share
        tied: list[Endpoint] = []
        for endpoint in candidates:
            load = endpoint.outstanding * endpoint.share
            if load == least:
                tied.append(endpoint)
            elif load < least:
                least = load
                tied = [endpoint]
        count = len(tied)
        if count == 1:
            return tied[0]
        # One draw gives both: a first, and a second among the others.
        one, other = divmod(int(self._random() * count * (count - 1)), count - 1)
        if other >= one:
            other += 1
        a, b = tied[one], tied[other]
        if a.share != b.share:
            return a if self._random() * (a.share + b.share) < b.share else b
        return a if a.latency.rank <= b.latency.rank else b


@dataclass(frozen=True, slots=True)
class LeastLoadedPolicy:
    """``least_loaded``: no fields."""

    name: ClassVar[str] = "least_loaded"

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return LeastLoaded(random)
