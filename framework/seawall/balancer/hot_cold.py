"""Hot-cold by load reports: Prequal's rule, fed by the answers of real calls."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from math import log
from typing import ClassVar, Final

from seawall.balancer.base import Balancer
from seawall.balancer.latency import TAU
from seawall.balancer.least_loaded import LeastLoaded
from seawall.balancer.snapshot import OncePerSnapshot
from seawall.call import Call, Endpoint, LoadReport
from seawall.clock import Clock, Random
from seawall.records import Record

POOL: Final = 16
"""Reports that are kept (Prequal, NSDI'24)."""
AGE: Final = 1.0
"""Seconds after which a report says nothing any more (Prequal, NSDI'24)."""
HOT_QUANTILE: Final = 0.84
"""An endpoint is hot if it has more in flight than this part of the recent reports say: 2^-0.25,
Prequal's; 0.6 to 0.9 are good there, and 0 goes by requests in flight alone."""
EXPLORE: Final = 0.05
"""The part of the picks that go by what this client sees instead of by reports, in place of
Prequal's probes: without them an endpoint that has no report would never get a call, and so never
a report. Simulated, 50 replicas and 20 clients at 85 %: p99 72 ms with 0.03, 77 with 0.1, 86 with
0.25; and 112 with ``LeastLoaded`` alone."""
FEWEST: Final = 8
"""Candidates below which no reports are asked for: simulated with 3 and 5 they change nothing, and
they cost each call about 3 % of its CPU at either end."""
_RECENT: Final = 128
"""Reports by which it is judged what is hot."""
_TROUBLE: Final = log(0.5)
"""The logarithm of seconds. An answer that failed counts as 1 s or more, so an endpoint stays
above this for 0.7 s after it failed."""
_APART: Final = log(4.0)
_SENSELESS: Final = 1e9
"""Neither requests nor seconds are that many."""

_Report = tuple[float, float, float]
"""When it came, the requests of others that it spoke of, and the latency in seconds."""


class HotCold(Balancer):
    """Of those with few requests in flight the fastest; if all have many, the one with fewest.

    In flight is what an endpoint reported of others' requests, and what this client has there
    now. It keeps the newest report of each of the last 16 endpoints that sent one, and uses each
    once, within 1 s. With fewer than two to choose from, and for one pick in twenty, it decides
    as ``LeastLoaded``, as with fewer than eight candidates, when no reports are asked for.

    An endpoint that fails fast reports little in flight and low latencies, and would attract all
    calls. So a report counts for nothing while the client's own estimate, in which a failure is
    a second, is above 0.5 s and four times that of the best.
    """

    reports_from = FEWEST

    __slots__ = (
        "_age", "_clock", "_fallback", "_members", "_pool", "_random", "_recent", "_size",
    )  # fmt: skip

    def __init__(
        self,
        random: Random,
        clock: Clock,
        *,
        pool: int = POOL,
        age: float = AGE,
        quantile: float = HOT_QUANTILE,
    ) -> None:
        self._random = random
        self._clock = clock
        self._size = pool
        self._age = age
        self._recent = _Recent(quantile)
        self._pool: dict[Endpoint, _Report] = {}
        """The oldest report first."""
        self._fallback = LeastLoaded(random, clock)
        self._members = OncePerSnapshot[frozenset[Endpoint]](frozenset)

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        """Keep the report, if it tells what is in flight.

        A latency that it doesn't tell is replaced by the client's own estimate.
        """
        in_flight, latency = load.in_flight, load.latency
        if in_flight is None or not 0.0 <= in_flight < _SENSELESS:  # not a number is neither
            return
        if latency is None or not 0.0 <= latency < _SENSELESS:
            latency = endpoint.latency.read(now)
        pool = self._pool
        pool.pop(endpoint, None)
        if len(pool) >= self._size:
            del pool[next(iter(pool))]
        others = in_flight - endpoint.outstanding
        pool[endpoint] = (now, others if others > 0.0 else 0.0, latency)
        self._recent.add(in_flight * endpoint.share)

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        now = self._clock()
        self._forget(now - self._age)
        if len(self._pool) < 2 or self._random() < EXPLORE:
            return self._fallback.pick(candidates, call)
        usable = self._usable(candidates, now)
        if len(usable) < 2:
            return self._fallback.pick(candidates, call)
        best = self._best(usable)
        del self._pool[best]
        return best

    def _forget(self, oldest: float) -> None:
        pool = self._pool
        while pool:
            endpoint = next(iter(pool))
            if pool[endpoint][0] >= oldest:
                break
            del pool[endpoint]

    def _usable(self, candidates: Sequence[Endpoint], now: float) -> list[Endpoint]:
        """Those of the candidates that reported and are in no trouble."""
        members = self._members.of(candidates)
        usable = [endpoint for endpoint in self._pool if endpoint in members]
        if not usable:
            return usable
        # Ranks are logarithms of latencies, shifted by the time: no exponential for each.
        ranks = [endpoint.latency.rank for endpoint in usable]
        bar = max(min(ranks) + _APART, now / TAU + _TROUBLE)
        if max(ranks) <= bar:
            return usable
        return [endpoint for endpoint in usable if endpoint.latency.rank <= bar]

    def _best(self, usable: list[Endpoint]) -> Endpoint:
        pool, hot = self._pool, self._recent.hot
        coldest = usable[0]
        fewest = fastest = float("inf")
        cold: Endpoint | None = None
        for endpoint in usable:
            _, others, latency = pool[endpoint]
            load = (others + endpoint.outstanding) * endpoint.share
            if load <= hot:
                if latency < fastest:
                    cold, fastest = endpoint, latency
            elif load < fewest:
                coldest, fewest = endpoint, load
        return coldest if cold is None else cold


class _Recent:
    """A quantile of the last reported requests in flight."""

    __slots__ = ("_index", "_ordered", "_quantile", "_seen", "hot")

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._seen: deque[float] = deque()
        self._ordered: list[float] = []
        self.hot = 0.0
        """An endpoint with more in flight than this is hot."""

    def add(self, in_flight: float) -> None:
        seen, ordered = self._seen, self._ordered
        if len(seen) == _RECENT:
            del ordered[bisect_left(ordered, seen.popleft())]
        seen.append(in_flight)
        insort(ordered, in_flight)
        self.hot = ordered[int(self._quantile * (len(ordered) - 1))]


class HotColdPolicy(Record):
    """``hot_cold``."""

    name: ClassVar[str] = "hot_cold"
    pool: int = POOL
    """``poolSize``: how many reports are kept."""
    age: float = AGE
    """``reportAge``: for how many seconds."""
    quantile: float = HOT_QUANTILE
    """``hotQuantile``: the part of the recent reports that are not hot."""

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return HotCold(random, clock, pool=self.pool, age=self.age, quantile=self.quantile)
