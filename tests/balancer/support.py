"""Endpoints without connections, and a balancer that is called as the balance layer calls it."""

import random
from collections import Counter

from seawall.balancer import Balancer, BalancerPolicy, parse
from seawall.balancer.latency import PeakEwma
from seawall.call import Call, Endpoint, Instance, LoadReport, Method
from seawall.fields import Fields
from seawall.testing.clock import FakeClock

METHOD = Method.from_path("/shop.v1.Inventory/GetStock")


def endpoint(address: str = "a", **facts) -> Endpoint:
    return Endpoint(Instance("shop.v1.Inventory", address, address, facts), None, PeakEwma())


def endpoints(addresses: str | list[str] = "abc", **facts) -> tuple[Endpoint, ...]:
    return tuple(endpoint(address, **facts) for address in addresses)


def call(hash_key: object = None, headers: tuple = ()) -> Call:
    made = Call(METHOD, 0.0, None)
    made.options = None if hash_key is None else {"hash_key": hash_key}
    made.headers = headers
    return made


def policy(name: str, **fields) -> BalancerPolicy:
    return parse([Fields({name: fields}, "loadBalancingConfig[0]")])


class World:
    """A balancer, its clock, and picks that begin, end and bring reports."""

    def __init__(self, given: BalancerPolicy, zone: str = "", seed: int = 0) -> None:
        self.clock = FakeClock()
        self.random = random.Random(seed)
        self.balancer: Balancer = given.build(self.random.random, self.clock, zone)

    def pick(self, candidates, made: Call | None = None) -> Endpoint:
        return self.balancer.pick(candidates, made or call())

    def begin(self, candidates, made: Call | None = None) -> Endpoint:
        picked = self.pick(candidates, made)
        picked.outstanding += 1
        return picked

    def counts(self, candidates, times: int, made: Call | None = None) -> Counter[str]:
        return Counter(self.pick(candidates, made).address for _ in range(times))

    def report(self, to: Endpoint, **load) -> None:
        self.balancer.report(to, LoadReport(**load), self.clock())
