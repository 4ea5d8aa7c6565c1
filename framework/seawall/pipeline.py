"""The way of a call: the layers of each method, and what all calls to a service share.

It does no I/O: ``seawall.connect`` gives it connections and real time, ``seawall.testing.simulate``
simulated ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seawall.balancer import Balancer, needs_of
from seawall.balancer.latency import PeakEwma
from seawall.call import Call, Endpoint, Instance, LoadReport, Method, Outcome, Success
from seawall.clock import Clock, Random
from seawall.config import BudgetPolicy, MethodPolicy, ServiceConfig
from seawall.events import BreakerChanged, Listener
from seawall.policy.backpressure import Backpressure, backpressure
from seawall.policy.balance import balance
from seawall.policy.breaker import Breaker, State
from seawall.policy.budget import Budget, RetryBudget, RetryThrottle
from seawall.policy.bulkhead import Bulkhead, BulkheadPolicy, bulkhead
from seawall.policy.deadline import deadline
from seawall.policy.fallback import Told, fallback
from seawall.policy.group import Group, Turnover
from seawall.policy.hedge import HedgePolicy, hedge
from seawall.policy.outlier import Outliers
from seawall.policy.percentile import Percentile
from seawall.policy.plan import Handler, Layer, send, stack
from seawall.policy.rate import RateLimit, RatePolicy, rate_limit
from seawall.policy.retry import retry
from seawall.policy.sharing import Names, Shared
from seawall.policy.stale import StaleAnswers, stale_if_error
from seawall.policy.subset import Parting, Subset
from seawall.policy.throttle import Throttle, throttle
from seawall.policy.warmup import end_warm_up
from seawall.records import Record

Make = Callable[[Instance], Endpoint | None]


class Reading(Record):
    """How the policies read what a driver's outcomes hold."""

    message: Callable[[Success], Any]
    """The response of a unary call, or an awaitable of it."""
    load: Callable[[Outcome], LoadReport | None]
    """The load report that came with the end of an attempt."""


def _nobody(call: Call, kind: str) -> None:
    """Who isn't told."""


class Setting(Record):
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
    can't be one. When ``reconfigure`` puts another config in force all goes on that it leaves as it
    was: statistics, what runs and waits, and the state of each policy that is the same.
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
        self._config = config
        self.group = Group(service, make, self._subset(config))
        self.group.slow_start = config.slow_start is not None
        self.balancer = self._new_balancer(config)
        self._budget = _budget(config, config.budget, setting.clock)
        self._hedging_budget = _budget(config, config.hedging_budget, setting.clock)
        self._outliers = self._new_outliers(config)
        self._throttle = self._new_throttle(config)
        self._pressures: dict[str, Backpressure] = {}
        """By method, what is kept back while there is no throttle."""
        self._bulkheads = Shared[BulkheadPolicy, Bulkhead](
            lambda policy: Bulkhead(policy, service), Bulkhead.follow
        )
        self._rates = Shared[RatePolicy, RateLimit](
            lambda policy: RateLimit(policy, service),
            lambda state, policy: state.follow(policy, setting.clock()),
        )
        self._answers: dict[str, StaleAnswers] = {}
        """By method, what ``staleIfError`` has kept."""
        self._usual: dict[str, Percentile] = {}
        """By method, how long its hedged calls take."""

    @property
    def retries_left(self) -> float:
        """How many retries the budget would allow now."""
        return self._budget.left

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
            self._keeping_back(method),
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
                self._usual_of(method, policy),
            ),
            # Picks among those that their breakers admit, and tells the picked one how it went.
            balance(
                self.group,
                self.balancer,
                clock,
                outliers=self._outliers,
                slow_start=self._config.slow_start,
                load_of=setting.reading.load,
                backpressure=None if self._throttle is not None else self._pressure_of(method),
            ),
            setting.inner,
        ]
        return stack((layer for layer in layers if layer is not None), send)

    def rehearse(self, config: ServiceConfig) -> None:
        """Raise what ``reconfigure`` would, and change nothing: a balancer of the user's own may
        fail to be made, or be none."""
        balancer = self._new_balancer(config)
        if not (callable(balancer.pick) and callable(balancer.report)):
            raise TypeError(f"{type(balancer).__name__} is no balancer")

    def reconfigure(self, config: ServiceConfig) -> Turnover:
        """Put another config in force; returns which endpoints it brings into use and out of it.

        Handlers that were made before go on as they are.
        """
        before = self._config
        if config.balancer != before.balancer:
            self.balancer = self._new_balancer(config)
            for endpoint in self.group.endpoints:
                endpoint.state = None
        self._config = config
        self._renew(before, config)
        self._carry(config)
        for endpoint in self.group.endpoints:
            endpoint.breaker.follow(config.breaker)
        self.group.slow_start = config.slow_start is not None
        if config.slow_start is None:
            end_warm_up(self.group)
        if (config.subset, needs_of(config.balancer)) == (before.subset, needs_of(before.balancer)):
            return Turnover()
        return self.group.resize(self._subset(config))

    def _renew(self, before: ServiceConfig, config: ServiceConfig) -> None:
        """Begin anew with what is shared by all calls, where the config says something new."""
        clock = self._setting.clock
        if (config.throttle, config.budget) != (before.throttle, before.budget):
            self._budget = _budget(config, config.budget, clock)
        if (config.throttle, config.hedging_budget) != (before.throttle, before.hedging_budget):
            self._hedging_budget = _budget(config, config.hedging_budget, clock)
        if config.adaptive != before.adaptive:
            if self._throttle is not None:
                self._throttle.end()
            self._throttle = self._new_throttle(config)
        if config.outliers != before.outliers:
            if self._outliers is not None:
                self._outliers.end()
            self._outliers = self._new_outliers(config)

    def _carry(self, config: ServiceConfig) -> None:
        """Go on with what methods have for themselves, by the rules that they have now."""
        entries: dict[Names, MethodPolicy] = {
            policy.names: policy
            for (service, _), policy in config.methods.items()
            if service in (self.service, "")
        }
        self._bulkheads.carry({n: p.bulkhead for n, p in entries.items() if p.bulkhead is not None})
        self._rates.carry({n: p.rate for n, p in entries.items() if p.rate is not None})
        for path, answers in list(self._answers.items()):
            stale = config.for_method(Method.from_path(path)).stale
            if stale is None or not answers.follow(stale):
                del self._answers[path]

    def _subset(self, config: ServiceConfig) -> Subset:
        needs = needs_of(config.balancer)
        parting = Parting(needs.kinds, self._setting.zone if needs.near else "")
        return Subset(config.subset, self._setting.seed, parting)

    def _new_balancer(self, config: ServiceConfig) -> Balancer:
        setting = self._setting
        return config.balancer.build(setting.random, setting.clock, setting.zone)

    def _new_outliers(self, config: ServiceConfig) -> Outliers | None:
        if config.outliers is None:
            return None
        setting = self._setting
        return Outliers(
            config.outliers, self.group, setting.clock, setting.random, setting.listener
        )

    def _new_throttle(self, config: ServiceConfig) -> Throttle | None:
        if config.adaptive is None:
            return None
        return Throttle(config.adaptive, self.service, self._setting.listener)

    def _keeping_back(self, method: Method) -> Layer:
        clock, random = self._setting.clock, self._setting.random
        if self._throttle is not None:
            return throttle(self._throttle, clock, random)
        return backpressure(self._pressure_of(method), random)

    def _pressure_of(self, method: Method) -> Backpressure:
        pressure = self._pressures.get(method.path)
        if pressure is None:
            pressure = Backpressure(method, self._setting.listener, self._setting.clock)
            self._pressures[method.path] = pressure
        return pressure

    def _usual_of(self, method: Method, policy: MethodPolicy) -> Percentile:
        share = (policy.hedge or HedgePolicy()).percentile
        usual = self._usual.get(method.path)
        if usual is None or usual.share != share:
            usual = self._usual[method.path] = Percentile(share)
        return usual

    def _stale(self, method: Method, policy: MethodPolicy) -> Layer | None:
        if policy.stale is None or method.streaming:
            return None
        answers = self._answers.get(method.path)
        if answers is None:
            answers = StaleAnswers(policy.stale, self._setting.clock)
            self._answers[method.path] = answers
        return stale_if_error(answers, self._setting.reading.message, self._setting.told)

    def _rate(self, policy: MethodPolicy) -> Layer | None:
        if policy.rate is None:
            return None
        return rate_limit(self._rates.of(policy.names, policy.rate), self._setting.clock)

    def _bulkhead(self, policy: MethodPolicy) -> Layer | None:
        if policy.bulkhead is None:
            return None
        return bulkhead(self._bulkheads.of(policy.names, policy.bulkhead), self._setting.clock)


def _budget(config: ServiceConfig, policy: BudgetPolicy, clock: Clock) -> Budget:
    if config.throttle is not None:
        return RetryThrottle(config.throttle.max_tokens, config.throttle.token_ratio)
    return RetryBudget(clock, ratio=policy.ratio, floor=policy.floor)
