"""Weighted round robin by load reports (gRFC A58)."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import inf
from typing import ClassVar, Final

from seawall.balancer.base import Balancer
from seawall.balancer.round_robin import drawn
from seawall.call import Call, Endpoint, LoadReport
from seawall.clock import Clock, Random
from seawall.records import Record

LEAST_UPDATE_PERIOD: Final = 0.1
"""Seconds; less is read as this (gRFC A58)."""
_LEAST: Final = 0.01
_MOST: Final = 10.0
"""Weights are kept between these multiples of their median: one report that makes no sense must not
send an instance everything, or nothing for minutes. gRPC's core takes the mean, which one instance
can move as far as it likes: of 20 it would get 98 %; by the median it is a third."""


class WeightedPolicy(Record):
    """``weighted_round_robin``; the names, meanings and defaults are gRPC's (A58)."""

    name: ClassVar[str] = "weighted_round_robin"
    blackout: float = 10.0
    """``blackoutPeriod``: seconds from an endpoint's first report until its weight counts."""
    expiration: float = 180.0
    """``weightExpirationPeriod``: seconds after the last report until the weight is forgotten."""
    update: float = 1.0
    """``weightUpdatePeriod``: seconds between two looks at the weights."""
    penalty: float = 1.0
    """``errorUtilizationPenalty``: what the part of failed requests adds to the utilization."""

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return Weighted(random, clock, self)


class Weighted(Balancer):
    """Each as often as its weight says: requests a second for what they use of the machine.

    The schedule is by earliest deadline: an endpoint of weight w is due every 1/w. Whoever has no
    weight is given the mean. With fewer than two weights those that the registry announces are
    used, which is round robin if it announces none.
    """

    reports_from = 2

    __slots__ = ("_clock", "_due", "_policy", "_random", "_schedule", "_snapshot", "_weights")

    def __init__(self, random: Random, clock: Clock, policy: WeightedPolicy | None = None) -> None:
        self._random = random
        self._clock = clock
        self._policy = policy or WeightedPolicy()
        self._due = -inf
        """When to look at the weights again."""
        self._weights: dict[Endpoint, float] = {}
        self._snapshot: Sequence[Endpoint] | None = None
        """What the schedule is of."""
        self._schedule = _Schedule()

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        weight = _weight(load, self._policy.penalty)
        if weight > 0.0:
            _known(endpoint).learn(weight, now)

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        now = self._clock()
        if candidates is self._snapshot and now < self._due:
            return self._schedule.next()
        if now >= self._due or not self._weights.keys() >= set(candidates):
            self._look(candidates, now)
        weights = [self._weights[endpoint] for endpoint in candidates]
        if not isinstance(candidates, tuple):
            return drawn(candidates, weights, self._random)
        self._snapshot = candidates
        self._schedule.plan(candidates, weights, self._random)
        return self._schedule.next()

    def _look(self, candidates: Sequence[Endpoint], now: float) -> None:
        weights = [_known(e).at(now, self._policy) for e in candidates]
        known = [weight for weight in weights if weight > 0.0]
        if len(known) < 2:
            weights = [1.0 / e.share for e in candidates]
        else:
            middle = sorted(known)[(len(known) - 1) // 2]
            least, most = middle * _LEAST, middle * _MOST
            known = [min(max(weight, least), most) for weight in known]
            mean = sum(known) / len(known)
            weights = [min(max(w, least), most) if w > 0.0 else mean for w in weights]
            # Who is new takes a part at first (slow start); else the two shares are the same.
            shares = [e.fair_share / e.share for e in candidates]
            weights = [w * part for w, part in zip(weights, shares, strict=True)]
        self._weights = dict(zip(candidates, weights, strict=True))
        self._due = now + self._policy.update
        self._snapshot = None


class _Weight:
    """What an endpoint's reports say; it stands in ``endpoint.state``."""

    __slots__ = ("_last", "_since", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._since: float | None = None
        """When the unbroken line of reports began."""
        self._last = 0.0

    def learn(self, weight: float, now: float) -> None:
        if self._since is None:
            self._since = now
        self._weight, self._last = weight, now

    def at(self, now: float, policy: WeightedPolicy) -> float:
        """0 = not known."""
        if self._since is None:
            return 0.0
        if now - self._last >= policy.expiration:
            self._since = None  # what comes after such a silence is a beginning
            return 0.0
        return self._weight if now - self._since >= policy.blackout else 0.0


def _known(endpoint: Endpoint) -> _Weight:
    state = endpoint.state
    if not isinstance(state, _Weight):
        state = endpoint.state = _Weight()
    return state


def _weight(load: LoadReport, penalty: float) -> float:
    """Requests a second for each machine's worth of utilization; 0 = the report doesn't say."""
    rate, utilization = load.rate, load.utilization
    if not (0.0 < rate < inf and 0.0 < utilization < inf):  # not a number is neither
        return 0.0
    if 0.0 < load.errors < inf:
        utilization += load.errors / rate * penalty
    weight = rate / utilization
    return weight if weight < inf else 0.0


class _Schedule:
    """Earliest deadline first. A new plan takes over how far each endpoint has come."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, float, Endpoint]] = []
        """When due, a number that breaks ties, the time from one turn to the next."""

    def plan(self, endpoints: Sequence[Endpoint], weights: Sequence[float], random: Random) -> None:
        heap = self._heap
        # Without what is taken over, a plan each second would begin anew each second, and with
        # few calls a second endpoints of little weight would never have their turn.
        now = heap[0][0] if heap else 0.0
        waits = {endpoint: (due - now) / period for due, _, period, endpoint in heap}
        self._heap = []
        for number, (endpoint, weight) in enumerate(zip(endpoints, weights, strict=True)):
            period = 1.0 / weight
            part = waits.get(endpoint)
            due = (random() if part is None else part) * period
            self._heap.append((due, number, period, endpoint))
        heapify(self._heap)

    def next(self) -> Endpoint:
        due, number, period, endpoint = self._heap[0]
        heapreplace(self._heap, (due + period, number, period, endpoint))
        return endpoint
