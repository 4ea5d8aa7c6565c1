"""The least busy of a few drawn by chance (gRFC A48)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from seawall.balancer.base import Balancer
from seawall.call import Call, Endpoint
from seawall.clock import Clock, Random
from seawall.records import Record

CHOICES: Final = 2
MOST_CHOICES: Final = 10
"""More is read as this (gRFC A48)."""


class LeastRequest(Balancer):
    """Draw some, with replacement, and take the one with the fewest outstanding calls.

    Outstanding calls count in relation to the endpoint's weight. With few calls a client knows
    next to nothing, and this is chance; ``LeastLoaded`` looks at all, and at latencies too.
    """

    __slots__ = ("_choices", "_random")

    def __init__(self, random: Random, choices: int = CHOICES) -> None:
        self._random = random
        self._choices = choices

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        count, random = len(candidates), self._random
        best = candidates[int(random() * count)]
        least = best.outstanding * best.share
        for _ in range(self._choices - 1):
            endpoint = candidates[int(random() * count)]
            load = endpoint.outstanding * endpoint.share
            if load < least:
                best, least = endpoint, load
        return best


class LeastRequestPolicy(Record):
    """``least_request_experimental``."""

    name: ClassVar[str] = "least_request_experimental"
    choices: int = CHOICES
    """``choiceCount``: how many to draw, 2 to 10."""

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return LeastRequest(random, self.choices)
