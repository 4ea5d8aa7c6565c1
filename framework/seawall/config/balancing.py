"""Which balancer, and what stands round it: outlier detection and subsets.

Those two are said under ``seawall``, or as gRPC says them: as policies of ``loadBalancingConfig``
that have the balancer in their ``childPolicy``. Either way they mean the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from seawall import balancer
from seawall.balancer import BalancerPolicy, needs_of
from seawall.balancer.config import AROUND, OUTLIERS, SUBSET
from seawall.fields import Fields
from seawall.policy.outlier import (
    FailurePercentageEjection,
    OutlierPolicy,
    SuccessRateEjection,
)
from seawall.policy.subset import ALL, SubsetPolicy

_CHILD: Final = "childPolicy"


class Balancing(NamedTuple):
    """What a document says of it."""

    balancer: BalancerPolicy
    outliers: OutlierPolicy | None
    subset: SubsetPolicy


def read_balancing(top: Fields, own: Fields) -> Balancing:
    """Read ``loadBalancingConfig`` of the document, and what is seawall's ``own`` of the kind.

    Raises ``ConfigError``, also if the same is said in both places.
    """
    around = _Around()
    picker = around.read(top.children("loadBalancingConfig"))
    for name in around.seen:
        if AROUND[name] in own:
            problem = f"can't stand beside {name} in the loadBalancingConfig"
            raise own.wrong(f"{problem}: it is one or the other", AROUND[name])
    detection, subset = own.child("outlierDetection"), SubsetPolicy()
    if needs_of(picker).everyone:
        subset = subset.changed(size=ALL)
    return Balancing(
        picker,
        around.outliers if detection is None else _outliers(detection),
        around.subset or _subset(own.child("subset"), subset),
    )


class _Around:
    """The policies round the balancer, each of which there may be once, from the outside in."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.outliers: OutlierPolicy | None = None
        self.subset: SubsetPolicy | None = None

    def read(self, entries: list[Fields]) -> BalancerPolicy:
        """The balancer within those of this list."""
        return balancer.parse(entries, {OUTLIERS: self._ejecting, SUBSET: self._subsetting})

    def _ejecting(self, fields: Fields) -> BalancerPolicy:
        """gRFC A50."""
        self.outliers = _outliers(fields, _CHILD)
        return self._child(OUTLIERS, fields)

    def _subsetting(self, fields: Fields) -> BalancerPolicy:
        """gRFC A68. The size has no default there."""
        fields.only("subsetSize", _CHILD)
        self.subset = SubsetPolicy(fields.integer("subsetSize", least=1))
        return self._child(SUBSET, fields)

    def _child(self, name: str, fields: Fields) -> BalancerPolicy:
        if name in self.seen:
            raise fields.wrong("stands in another one; leave one out")
        self.seen.append(name)
        children = fields.children(_CHILD)
        if not children:  # gRPC too has no default here
            raise fields.wrong('must name the balancer, such as [{"least_loaded": {}}]', _CHILD)
        return self.read(children)


def _outliers(fields: Fields, *more: str) -> OutlierPolicy:
    """What these fields say, beside those of the names ``more``."""
    fields.only(
        "interval", "baseEjectionTime", "maxEjectionTime", "maxEjectionPercent",
        "successRateEjection", "failurePercentageEjection", *more,
    )  # fmt: skip
    default = OutlierPolicy()
    by_rate = fields.child("successRateEjection")
    by_failures = fields.child("failurePercentageEjection")
    return OutlierPolicy(
        interval=fields.duration("interval", default.interval),
        base_ejection_time=fields.duration("baseEjectionTime", default.base_ejection_time),
        max_ejection_time=fields.duration("maxEjectionTime", default.max_ejection_time),
        max_ejection_percent=fields.percentage("maxEjectionPercent", default.max_ejection_percent),
        success_rate=None if by_rate is None else _by_rate(by_rate),
        failure_percentage=None if by_failures is None else _by_failures(by_failures),
    )


def _by_rate(fields: Fields) -> SuccessRateEjection:
    fields.only("stdevFactor", "enforcementPercentage", "minimumHosts", "requestVolume")
    default = SuccessRateEjection()
    return SuccessRateEjection(
        fields.integer("stdevFactor", default.stdev_factor, least=0),
        fields.percentage("enforcementPercentage", default.enforcement_percentage),
        fields.integer("minimumHosts", default.minimum_hosts, least=0),
        fields.integer("requestVolume", default.request_volume, least=0),
    )


def _by_failures(fields: Fields) -> FailurePercentageEjection:
    fields.only("threshold", "enforcementPercentage", "minimumHosts", "requestVolume")
    default = FailurePercentageEjection()
    return FailurePercentageEjection(
        fields.percentage("threshold", default.threshold),
        fields.percentage("enforcementPercentage", default.enforcement_percentage),
        fields.integer("minimumHosts", default.minimum_hosts, least=0),
        fields.integer("requestVolume", default.request_volume, least=0),
    )


def _subset(fields: Fields | None, default: SubsetPolicy) -> SubsetPolicy:
    if fields is None:
        return default
    fields.only("size", "client")
    client = fields.integer("client", least=0) if "client" in fields else None
    return SubsetPolicy(fields.integer("size", default.size, least=1), client)
