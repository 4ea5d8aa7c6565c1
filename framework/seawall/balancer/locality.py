"""Calls stay in the caller's zone while it can take its part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from seawall.balancer.base import Balancer, BalancerPolicy, Needs, needs_of
from seawall.balancer.hot_cold import HotColdPolicy
from seawall.balancer.snapshot import OncePerSnapshot, census, fact, parted
from seawall.call import ZONE, Call, Endpoint, LoadReport
from seawall.clock import Clock, Random
from seawall.records import Record


class LocalityPolicy(Record):
    """``locality``."""

    name: ClassVar[str] = "locality"
    traffic: float | None = None
    """``trafficShare``: the part of the service's calls that comes from the caller's zone, above
    0 and at most 1. None = all zones that have instances send the same."""
    child: BalancerPolicy = HotColdPolicy()
    """``childPolicy``: picks within the zone, and among all the others."""

    @property
    def needs(self) -> Needs:
        """Instances of the caller's own zone."""
        return needs_of(self.child).changed(near=True)

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        here = self.child.build(random, clock, zone)
        elsewhere = self.child.build(random, clock, zone)
        return Locality(here, elsewhere, random, zone, self.traffic)


class _Zones(NamedTuple):
    here: Sequence[Endpoint]
    elsewhere: Sequence[Endpoint]
    stay: float
    """The part of the calls that stay."""


class Locality(Balancer):
    """The caller's zone takes ``min(1, its part of the capacity / its part of the traffic)``.

    What is above that goes to the other zones, in one pool: so with three zones of ten, of which
    the caller's has lost half, 60 % stay, and every instance has the same to do. Capacity is the
    sum of the weights of all that the candidates stand for. A caller that knows no zone picks
    among all.
    """

    __slots__ = ("_elsewhere", "_here", "_random", "_traffic", "_zone", "_zones", "reports_from")

    def __init__(
        self,
        here: Balancer,
        elsewhere: Balancer,
        random: Random,
        zone: str,
        traffic: float | None = None,
    ) -> None:
        self._here = here
        self._elsewhere = elsewhere
        self._random = random
        self._zone = zone
        self._traffic = traffic
        self._zones = OncePerSnapshot(self._work_out)
        self.reports_from = here.reports_from

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        if not self._zone:
            return self._elsewhere.pick(candidates, call)
        here, elsewhere, stay = self._zones.of(candidates)
        if stay >= 1.0 or self._random() < stay:
            return self._here.pick(here, call)
        return self._elsewhere.pick(elsewhere, call)

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        local = self._zone and fact(endpoint, ZONE) == self._zone
        (self._here if local else self._elsewhere).report(endpoint, load, now)

    def _work_out(self, candidates: Sequence[Endpoint]) -> _Zones:
        parts = parted(candidates, ZONE)
        zones = len(parts)
        here = parts.pop(self._zone, ())
        if not parts or not here:
            return _Zones(here, candidates, 1.0 if here else 0.0)
        elsewhere = [e for part in parts.values() for e in part]
        traffic = self._traffic or 1.0 / zones
        stay = census(here) / census(candidates) / traffic
        whole = isinstance(candidates, tuple)
        return _Zones(here, tuple(elsewhere) if whole else elsewhere, stay)
