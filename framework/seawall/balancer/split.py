"""Traffic split: so much to each version."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import ClassVar, NamedTuple

from seawall.balancer.base import Balancer, BalancerPolicy, Needs, needs_of
from seawall.balancer.hot_cold import HotColdPolicy
from seawall.balancer.snapshot import OncePerSnapshot, capacity, fact, parted
from seawall.call import Call, Endpoint, LoadReport
from seawall.clock import Clock, Random


@dataclass(frozen=True, slots=True)
class SplitPolicy:
    """``split``."""

    name: ClassVar[str] = "split"
    weights: Mapping[str, float] = field(hash=False)
    """How much each version gets, in relation to the others; 0 = only who asks for it."""
    label: str = "version"
    """The fact that tells versions apart."""
    header: str = ""
    """The metadata key with which a call asks for one version; empty = none does."""
    child: BalancerPolicy = HotColdPolicy()
    """``childPolicy``: picks within a version."""

    @property
    def needs(self) -> Needs:
        """Instances of each version."""
        needs = needs_of(self.child)
        return needs.changed(kinds=(self.label, *needs.kinds))

    def build(self, random: Random, clock: Clock, zone: str = "") -> Balancer:
        return Split(self, lambda: self.child.build(random, clock, zone), random)


class _Versions(NamedTuple):
    parts: Mapping[str, Sequence[Endpoint]]
    names: Sequence[str]
    """Those that get a share."""
    bounds: Sequence[float]
    """Where the share of each ends; the last is the sum."""


class Split(Balancer):
    """A version by chance in proportion to the weights, then a pick among who runs it.

    A version that nobody runs gives its share to the others, in proportion. One that the policy
    does not list gets calls only by the header, or if nobody runs any of those that have a
    weight. A header that names a version nobody runs is as good as none: no call fails because
    a version is missing.
    """

    __slots__ = ("_build", "_children", "_policy", "_random", "_versions", "reports_from")

    def __init__(self, policy: SplitPolicy, build: Callable[[], Balancer], random: Random) -> None:
        self._policy = policy
        self._build = build
        self._random = random
        self._children: dict[str, Balancer] = {}
        """By version; only of those in the last snapshot, and in selections since."""
        self._versions = OncePerSnapshot(self._work_out)
        self.reports_from = build().reports_from

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        versions = self._versions.of(candidates)
        version = self._asked(call, versions)
        return self._child(version).pick(versions.parts[version], call)

    def report(self, endpoint: Endpoint, load: LoadReport, now: float) -> None:
        child = self._children.get(fact(endpoint, self._policy.label))
        if child is not None:
            child.report(endpoint, load, now)

    def _asked(self, call: Call, versions: _Versions) -> str:
        header, (parts, names, bounds) = self._policy.header, versions
        if header:
            for name, value in call.headers:
                if name == header and value in parts:
                    return str(value)
        if len(names) == 1:
            return names[0]
        drawn = bisect_right(bounds, self._random() * bounds[-1])
        return names[min(drawn, len(names) - 1)]

    def _child(self, version: str) -> Balancer:
        child = self._children.get(version)
        if child is None:
            child = self._children[version] = self._build()
        return child

    def _work_out(self, candidates: Sequence[Endpoint]) -> _Versions:
        parts = parted(candidates, self._policy.label)
        if isinstance(candidates, tuple):
            self._children = {v: c for v, c in self._children.items() if v in parts}
        shares = {v: w for v, w in self._policy.weights.items() if w > 0.0 and v in parts}
        if not shares:
            shares = {version: capacity(part) for version, part in parts.items()}
        return _Versions(parts, list(shares), list(accumulate(shares.values())))
