"""What a service config says, once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from seawall.balancer import DEFAULT, BalancerPolicy
from seawall.call import Method
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.bulkhead import BulkheadPolicy
from seawall.policy.hedge import HedgePolicy
from seawall.policy.outlier import OutlierPolicy
from seawall.policy.rate import RatePolicy
from seawall.policy.retry import RetryPolicy
from seawall.policy.stale import StalePolicy
from seawall.policy.subset import SubsetPolicy
from seawall.policy.throttle import AdaptiveThrottle
from seawall.policy.warmup import SlowStartPolicy
from seawall.records import Record


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What the config says of one method."""

    timeout: float | None = None
    """Seconds; the caller's own ``timeout`` wins if it is shorter."""
    wait_for_ready: bool | None = None
    """None = not said. The caller's own choice wins."""
    retry: RetryPolicy = RetryPolicy()
    hedge: HedgePolicy | None = None
    """None = never hedged, unless a call asks for it."""
    idempotent: bool | None = None
    """``seawall.idempotent``: overrides the contract; None = as the proto says."""
    bulkhead: BulkheadPolicy | None = None
    """Shared by all methods of a service that one entry names."""
    rate: RatePolicy | None = None
    """Shared likewise."""
    stale: StalePolicy | None = None
    fallback: str | None = None
    """The path of the method that answers in place of this one; None = no other."""
    entry: int | None = None
    """Which entry of the document says so, from 0 on; None = no entry does."""
    names: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """That entry's (service, method) pairs. Not compared: they may be as many as the policies."""


class BudgetPolicy(Record):
    """``seawall.retryBudget``: how many retries all calls to a service may make together."""

    ratio: float = 0.1
    floor: float = 3.0
    """Retries a second that are allowed whatever the traffic."""


HEDGES = BudgetPolicy(ratio=0.05, floor=1.0)
"""``seawall.hedgingBudget``: "The Tail at Scale" keeps hedges below 5 % of the calls."""


class ThrottlePolicy(Record):
    """``retryThrottling`` (gRFC A6): takes the place of both budgets when it is given."""

    max_tokens: float
    token_ratio: float


class ServiceConfig(Record):
    """A whole document, validated. Each service on the channel has all of it for itself."""

    balancer: BalancerPolicy = DEFAULT
    throttle: ThrottlePolicy | None = None
    budget: BudgetPolicy = BudgetPolicy()
    hedging_budget: BudgetPolicy = HEDGES
    breaker: BreakerPolicy = BreakerPolicy()
    outliers: OutlierPolicy | None = None
    adaptive: AdaptiveThrottle | None = None
    slow_start: SlowStartPolicy | None = None
    subset: SubsetPolicy = SubsetPolicy()
    methods: Mapping[tuple[str, str], MethodPolicy] = MappingProxyType({})
    """By (service, method); an empty method is the whole service, two empty ones everything."""

    def for_method(self, method: Method) -> MethodPolicy:
        """The one entry that applies to ``method``."""
        for key in ((method.service, method.name), (method.service, ""), ("", "")):
            if key in self.methods:
                return self.methods[key]
        return _DEFAULT


_DEFAULT = MethodPolicy()
