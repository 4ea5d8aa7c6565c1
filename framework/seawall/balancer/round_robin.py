"""Each endpoint in turn."""

from __future__ import annotations

from collections.abc import Sequence

from seawall.call import Call, Endpoint
from seawall.clock import Random


class RoundRobin:
    """gRPC's ``round_robin``, from a random start so that many clients don't march in step."""

    __slots__ = ("_next",)

    def __init__(self, random: Random) -> None:
        self._next = int(random() * 1_000_000)

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        self._next += 1
        return candidates[self._next % len(candidates)]
