"""The default: least outstanding calls, ties by the better of two on peak EWMA."""

from __future__ import annotations

from collections.abc import Sequence

from seawall.call import Call, Endpoint
from seawall.clock import Random


class LeastLoaded:
    """Scan all candidates for the fewest outstanding calls.

    Among those that tie, draw two and take the one with the lower latency estimate. The scan
    avoids an instance that is stuck (its calls pile up), the estimate one that is merely slow,
    and drawing two keeps many clients from choosing the same one at once (Mitzenmacher's power
    of two choices).
    """

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        least = candidates[0].outstanding
        tied: list[Endpoint] = []
        for endpoint in candidates:
            outstanding = endpoint.outstanding
            if outstanding == least:
                tied.append(endpoint)
            elif outstanding < least:
                least = outstanding
                tied = [endpoint]
        count = len(tied)
        if count == 1:
            return tied[0]
        # One draw gives both: a first, and a second among the others.
        first, second = divmod(int(self._random() * count * (count - 1)), count - 1)
        if second >= first:
            second += 1
        a, b = tied[first], tied[second]
        return a if a.latency.rank <= b.latency.rank else b
