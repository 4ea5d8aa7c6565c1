"""The way of a call: the layers of each method, and what all calls to a service share.

It does no I/O: ``seawall.connect`` gives it connections and real time, ``seawall.testing.simulate``
simulated ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seawall.balancer.latency import PeakEwma
from seawall.call import Call, Endpoint, Instance, LoadReport, Method, Outcome, Success
from seawall.clock import Clock, Random
from seawall.config import BudgetPolicy, MethodPolicy, ServiceConfig
from seawall.events import BreakerChanged, Listener
from seawall.policy.balance import balance
from seawall.policy.breaker import Breaker, State
from seawall.policy.budget import Budget, RetryBudget, RetryThrottle
from seawall.policy.bulkhead import Bulkhead, bulkhead
from seawall.policy.deadline import deadline
from seawall.policy.fallback import Told, fallback
from seawall.policy.group import Group, Turnover
from seawall.policy.hedge import hedge
from seawall.policy.outlier import Outliers
from seawall.policy.plan import Handler, Layer, send, stack
from seawall.policy.rate import RateLimit, rate_limit
from seawall.policy.retry import retry
from seawall.policy.stale import StaleAnswers, stale_if_error
from seawall.policy.subset import Subset
from seawall.policy.throttle import Throttle, throttle

Make = Callable[[Instance], Endpoint | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the policies read what a driver's outcomes hold."""

    message: Callable[[Success], Any]
    """The response of a unary call, or an awaitable of it."""
    load: Callable[[Outcome], LoadReport | None]
    """The load report that came with the end of an attempt."""


def _nobody(call: Call, kind: str) -> None:
    """Who isn't told."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a pipeline is given by its surroundings."""

    clock: Clock
    random: Random
    reading: Reading
    listener: Listener
    told: Told = _nobody
    """Is told of the answers that no server has just given."""
    zone: str = ""
    """The caller's zone; empty = not known."""
    seed: str = ""
    """What makes this client's subset its own."""
    outer: Layer | None = None
    """Stands over everything, as the call's span does: it lasts as long as the caller waits."""
    inner: Layer | None = None
    """Stands right above the wire, as an attempt's span does: below the pick, so that it knows the
    endpoint."""


class Pipeline:
    """What all calls of one client to one service share: endpoints, balancer, budgets, limits.

    ``make`` builds the endpoint of an instance, with ``endpoint()`` and a connection; None if it
    can't be one. Statistics stay when ``reconfigure`` puts another config in force.
    """

    def __init__(
        self,
        service: str,
        config: ServiceConfig,
        setting: Setting,
        make: Make,
    ) -> None:
        self.service = service
        self._setting = setting
        self.group = Group(service, make, Subset(config.subset, setting.seed))
        self._adopt(config)

    def endpoint(self, instance: Instance) -> Endpoint:
        """An endpoint without a connection."""

        def moved(old: State, new: State) -> None:
            self.group.trip(endpoint)
            self._setting.listener(
                BreakerChanged(self.service, instance.address, old.value, new.value)
            )

        endpoint = Endpoint(instance, Breaker(self._config.breaker, moved), PeakEwma())
        return endpoint

    def handler(self, method: Method, policy: MethodPolicy) -> Handler:
        """The stack of layers, the outermost first, each in its place for a reason."""
        setting, clock, random = self._setting, self._setting.clock, self._setting.random
        layers: list[Layer | None] = [
            setting.outer,
            # Above all that can fail, as it answers for what they could not mend.
            fallback(setting.told),
            # Below it: what a server once said is better than what the caller makes up.
            self._stale(method, policy),
            # Above what counts or waits: a call without time is refused before.
            deadline,
            # Above the queue and the budget: what the service would refuse takes no place in them.
            self._throttle,
            self._rate(policy),
            # Above retry: a call keeps its place whatever its attempts.
            self._bulkhead(policy),
            # Above balance: every attempt is a new pick.
            hedge(
                policy.hedge,
                retry(policy.retry, self._budget, clock, random),
                self._hedging_budget,
                clock,
                random,
            ),
            # Picks among those that their breakers admit, and tells the picked one how it went.
            balance(
                self.group,
                self.balancer,
                clock,
                outliers=self._outliers,
                slow_start=self._config.slow_start,
                load_of=setting.reading.load,
            ),
            setting.inner,
        ]
        return stack((layer for layer in layers if layer is not None), send)

    def reconfigure(self, config: ServiceConfig) -> Turnover:
        """Put another config in force; returns which endpoints it brings into use and out of it.

        Handlers that were made before go on as they are.
        """
        resized = config.subset != self._config.subset
        self._adopt(config)
        for endpoint in self.group.endpoints:
            endpoint.breaker.follow(config.breaker)
            endpoint.state = endpoint.tally = None
            endpoint.ejected = False
            self.group.trip(endpoint)
        subset = Subset(config.subset, self._setting.seed)
        return self.group.resize(subset) if resized else Turnover()

    def _adopt(self, config: ServiceConfig) -> None:
        setting, clock, random = self._setting, self._setting.clock, self._setting.random
        self._config = config
        self._limits: dict[int, Any] = {}
        """Bulkheads and rate limits, by the identity of the policy that asks for them: all methods
        that one entry names share one."""
        self.balancer = config.balancer.build(random, clock, setting.zone)
        self._budget = _budget(config, config.budget, clock)
        self._hedging_budget = _budget(config, config.hedging_budget, clock)
        self._outliers = (
            Outliers(config.outliers, self.group, clock, random, setting.listener)
            if config.outliers is not None
            else None
        )
        self._throttle = (
            throttle(Throttle(config.adaptive, self.service, setting.listener), clock, random)
            if config.adaptive is not None
            else None
        )
        self.group.slow_start = config.slow_start is not None

    def _stale(self, method: Method, policy: MethodPolicy) -> Layer | None:
        if policy.stale is None or method.streaming:
            return None
        answers = StaleAnswers(policy.stale, self._setting.clock)
        return stale_if_error(answers, self._setting.reading.message, self._setting.told)

    def _rate(self, policy: MethodPolicy) -> Layer | None:
        if policy.rate is None:
            return None
        key, clock = id(policy.rate), self._setting.clock
        state = self._limits.setdefault(key, RateLimit(policy.rate, self.service))
        return rate_limit(state, clock)

    def _bulkhead(self, policy: MethodPolicy) -> Layer | None:
        if policy.bulkhead is None:
            return None
        state = self._limits.setdefault(
            id(policy.bulkhead), Bulkhead(policy.bulkhead, self.service)
        )
        return bulkhead(state, self._setting.clock)


def _budget(config: ServiceConfig, policy: BudgetPolicy, clock: Clock) -> Budget:
    if config.throttle is not None:
        return RetryThrottle(config.throttle.max_tokens, config.throttle.token_ratio)
    return RetryBudget(clock, ratio=policy.ratio, floor=policy.floor)
