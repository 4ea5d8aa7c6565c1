"""Each endpoint in turn, or by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from seawall.balancer.base import Balancer
from seawall.call import Call, Endpoint
from seawall.clock import Clock, Random
from seawall.records import Record


class RoundRobin(Balancer):
    """gRPC's ``round_robin``, from a random start so that many clients don't march in step."""

    __slots__ = ("_next",)

    def __init__(self, random: Random) -> None:
        self._next = int(random() * 1_000_000)

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        self._next += 1
        return candidates[self._next % len(candidates)]


class ByChance(Balancer):
    """``random``: each with the probability that its weight says."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        return drawn(candidates, [1.0 / e.share for e in candidates], self._random)


def drawn(candidates: Sequence[Endpoint], weights: Sequence[float], random: Random) -> Endpoint:
    """One of ``candidates`` with a probability in proportion to its weight, all above zero."""
    rest = random() * sum(weights)
    for endpoint, weight in zip(candidates, weights, strict=True):
        rest -= weight
        if rest < 0.0:
            return endpoint
    return candidates[-1]  # by rounding


class RoundRobinPolicy(Record):
    """``round_robin``: no fields."""

    name: ClassVar[str] = "round_robin"

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return RoundRobin(random)


class ByChancePolicy(Record):
    """``random``: no fields."""

    name: ClassVar[str] = "random"

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return ByChance(random)
