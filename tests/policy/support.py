"""A group of endpoints and a whole stack of layers, in virtual time."""

from collections.abc import Callable
from dataclasses import replace

from grpc import StatusCode

from seawall.balancer.latency import PeakEwma
from seawall.balancer.least_loaded import LeastLoaded
from seawall.call import Call, Endpoint, Failure, Listing, Method, Outcome, Success
from seawall.policy.balance import balance
from seawall.policy.breaker import Breaker, BreakerPolicy
from seawall.policy.budget import Budget, RetryBudget
from seawall.policy.deadline import deadline
from seawall.policy.fallback import fallback
from seawall.policy.group import Group
from seawall.policy.hedge import HedgePolicy, hedge
from seawall.policy.plan import Handler, send, stack
from seawall.policy.retry import RetryPolicy, retry
from seawall.testing.clock import FakeClock
from seawall.testing.plans import Answer, PlanRunner, instance

READ = Method.from_path("/shop.v1.Inventory/GetStock", idempotent=True)
CHARGE = Method.from_path("/shop.v1.Payments/Charge")
WATCH = replace(READ, response_streaming=True)

UNAVAILABLE = Failure(StatusCode.UNAVAILABLE, "no")
Servers = dict[str, Callable[[], Answer] | Answer]


def ok(seconds: float = 0.005) -> Answer:
    return seconds, Success("answer")


def fails(code: StatusCode = StatusCode.UNAVAILABLE, seconds: float = 0.001, **more) -> Answer:
    return seconds, Failure(code, "no", **more)


def listing(*addresses: str) -> Listing:
    return Listing(tuple(instance(address) for address in addresses))


class World:
    """Endpoints that answer as ``servers`` says, and the production stack over them."""

    def __init__(
        self,
        servers: Servers,
        policy: RetryPolicy | None = None,
        budget: Budget | None = None,
        breaker_policy: BreakerPolicy | None = None,
        hedging: HedgePolicy | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.fallbacks: list[str] = []
        self.began = self.clock.now
        self.servers = servers
        self.breaker_policy = breaker_policy or BreakerPolicy()
        self.budget = budget or RetryBudget(self.clock)
        self.group = Group("shop.v1.Inventory", self.make)
        self.group.apply(listing(*servers))
        for endpoint in self.group.endpoints:
            self.group.set_ready(endpoint, True)
        self.handler: Handler = stack(
            [
                fallback(lambda call, kind: self.fallbacks.append(kind)),
                deadline,
                hedge(
                    hedging,
                    retry(policy or RetryPolicy(), self.budget, self.clock, lambda: 0.5),
                    self.budget,
                    self.clock,
                    lambda: 0.5,
                ),
                balance(self.group, LeastLoaded(lambda: 0.0, self.clock), self.clock),
            ],
            send,
        )
        self.runner = PlanRunner(self.clock, self._answer)

    def make(self, found) -> Endpoint:
        breaker = Breaker(self.breaker_policy, lambda old, new: self.group.trip(endpoint))
        endpoint = Endpoint(found, breaker, PeakEwma())
        return endpoint

    def endpoint(self, address: str) -> Endpoint:
        return next(e for e in self.group.endpoints if e.address == address)

    def call(self, method: Method = READ, timeout: float | None = 1.0, **options) -> Call:
        made = Call(method, self.clock(), None if timeout is None else self.clock() + timeout)
        made.options = options or None
        return made

    def run(self, call: Call | None = None, **kwargs) -> Outcome:
        return self.runner.run(self.handler(call or self.call(**kwargs)))

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now - self.began

    @property
    def sent(self) -> list[str]:
        return [endpoint.address for endpoint in self.runner.sent]

    def _answer(self, call: Call, endpoint: Endpoint) -> Answer:
        server = self.servers[endpoint.address]
        return server() if callable(server) else server
