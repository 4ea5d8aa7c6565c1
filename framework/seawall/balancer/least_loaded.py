"""Least outstanding calls, ties by the better of two on peak EWMA."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import ClassVar, Final

from seawall.balancer.base import Balancer
from seawall.call import Call, Endpoint
from seawall.clock import Clock, Random
from seawall.records import Record

FAR_TIMES: Final = 3.0
"""How many times as long as the quickest one an endpoint takes to be far slower. Simulated, 2 takes
differences by chance for real ones, 4 and 8 gain less."""
FAR: Final = log(FAR_TIMES)

SLOW: Final = 8.0
"""What a call counts at an endpoint that is far slower than others."""

SILENCE: Final = 5.0
"""How many times as long as it usually takes an endpoint has to be silent, with calls outstanding,
to count as far slower before any of them has come back."""

SILENCE_LEAST: Final = 0.03
"""Seconds of silence that say nothing in any case: this process may have been busy itself."""

_UNKNOWN: Final = -inf


class LeastLoaded(Balancer):
    """Scan all candidates for the fewest outstanding calls, in relation to their weights.

    Among those that tie, draw two and take the one with the lower latency estimate. The scan
    avoids an instance that is stuck (its calls pile up), the estimate one that is merely slow,
    and drawing two keeps many clients from choosing the same one at once (Mitzenmacher's power
    of two choices). Of two with unequal weights each is taken as often as its weight says.

    If the one that is found so takes far longer than others, or has been silent for long, its
    calls count eight times: idle as it is, it would only keep the call waiting. Simulated, with
    one of five 20 times slower than the others, p99 falls from 73 to 48 ms, that of the fleet when
    it is well; and with 50 that are slow now and then from 94 to 83.
    """

    __slots__ = ("_clock", "_random")

    def __init__(self, random: Random, clock: Clock) -> None:
        self._random = random
        self._clock = clock

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        chosen, best = self._least(candidates)
        far = chosen.latency.rank - best > FAR
        if not far and not (chosen.outstanding and _silent(chosen, self._clock())):
            return chosen
        others = self._quicker(candidates, best, chosen.latency.usual * FAR_TIMES if far else inf)
        if not others:
            return chosen
        quick, _ = self._least(others)
        slow_load = (chosen.outstanding + 1) * chosen.share * SLOW
        return quick if (quick.outstanding + 1) * quick.share <= slow_load else chosen

    def _quicker(self, candidates: Sequence[Endpoint], best: float, most: float) -> list[Endpoint]:
        """Those of about the lowest latency. One that nobody has called for long is not among them
        if it took more than ``most`` seconds when it was called: its estimate has merely decayed.
        """
        now = self._clock()
        return [
            endpoint
            for endpoint in candidates
            if endpoint.latency.rank - best <= FAR
            and endpoint.latency.usual <= most
            and not _silent(endpoint, now)
        ]

    def _least(self, candidates: Sequence[Endpoint]) -> tuple[Endpoint, float]:
        """The one with the fewest calls, and the rank of the one with the lowest latency known."""
        least, best = inf, inf
        tied: list[Endpoint] = []
        for endpoint in candidates:
            rank = endpoint.latency.rank
            if _UNKNOWN < rank < best:
                best = rank
            load = endpoint.outstanding * endpoint.share
            if load == least:
                tied.append(endpoint)
            elif load < least:
                least = load
                tied = [endpoint]
        return (tied[0] if len(tied) == 1 else self._better_of_two(tied)), best

    def _better_of_two(self, tied: list[Endpoint]) -> Endpoint:
        # One draw gives both: a first, and a second among the others.
        count = len(tied)
        one, other = divmod(int(self._random() * count * (count - 1)), count - 1)
        if other >= one:
            other += 1
        a, b = tied[one], tied[other]
        if a.share != b.share:
            return a if self._random() * (a.share + b.share) < b.share else b
        return a if a.latency.rank <= b.latency.rank else b


def _silent(endpoint: Endpoint, now: float) -> bool:
    """Whether calls are outstanding there and none has been answered for far longer than usual."""
    if not endpoint.outstanding:
        return False
    quiet = now - max(endpoint.busy_since, endpoint.answered)
    return quiet > SILENCE_LEAST and quiet > SILENCE * endpoint.latency.usual


class LeastLoadedPolicy(Record):
    """``least_loaded``: no fields."""

    name: ClassVar[str] = "least_loaded"

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return LeastLoaded(random, clock)
