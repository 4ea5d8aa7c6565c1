"""What a pick costs, and whether it grows with the service: ``python -m bench.picks``.

Real groups of 20 and of 10,000 listed instances, of which the default subset is used, with every
connection up and some calls outstanding. Each figure is the least of several: the machine's other
work only ever adds.
"""

from __future__ import annotations

import argparse
import random
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Final

from seawall.call import Call, Change, Endpoint, Instance, Listing, LoadReport, Method
from seawall.config import parse_service_config
from seawall.events import ignore
from seawall.pipeline import Pipeline, Reading, Setting

BALANCERS: Final[dict[str, dict[str, object]]] = {
    "least_loaded": {},
    "hot_cold": {},
    "round_robin": {},
    "random": {},
    "least_request_experimental": {},
    "weighted_round_robin": {"blackoutPeriod": "0s"},
    "ring_hash_experimental": {},
    "locality": {},
    "split": {"weights": {"1": 90, "2": 10}},
}
SIZES: Final = (20, 10_000)
BUDGET_US: Final = 7.0
SERVICE: Final = "shop.v1.Inventory"
METHOD: Final = Method.from_path(f"/{SERVICE}/GetStock", idempotent=True)


def instance(number: int) -> Instance:
    facts = {"version": str(1 + number % 2), "zone": "abc"[number % 3]}
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:80"
    return Instance(SERVICE, str(number), address, dict(facts))


def pipeline(balancer: str, listed: int) -> Pipeline:
    """A pipeline whose endpoints are all connected."""
    chance = random.Random(1)
    setting = Setting(
        time.monotonic, chance.random, Reading(lambda _: None, lambda _: None), ignore, zone="a"
    )
    config = parse_service_config({"loadBalancingConfig": [{balancer: BALANCERS[balancer]}]})

    def make(found: Instance) -> Endpoint:
        return made.endpoint(found)

    made = Pipeline(SERVICE, config, setting, make)
    made.group.apply(Listing(tuple(map(instance, range(listed)))))
    for endpoint in made.group.endpoints:
        made.group.set_ready(endpoint, True)
        endpoint.outstanding = chance.randrange(3)
        endpoint.latency.observe(0.005 + chance.random() / 1000, time.monotonic())
    return made


def microseconds(work: Callable[[], object], number: int, repeat: int) -> float:
    return min(timeit.repeat(work, number=number, repeat=repeat)) / number * 1e6


def pick_cost(balancer: str, listed: int, repeat: int) -> float:
    """Microseconds for a pick, with a fresh report before each where reports are wanted."""
    made = pipeline(balancer, listed)
    picker, ready = made.balancer, made.group.ready
    call = Call(METHOD, 0.0, None)
    call.options = {"hash_key": "user-42"}

    def pick() -> None:
        picker.pick(ready, call)

    if picker.reports_from is None:
        return microseconds(pick, 2000, repeat)
    load = LoadReport(2, 0.005, 0.3, 100.0, 0.0)

    def report() -> None:
        picker.report(ready[0], load, time.monotonic())

    def both() -> None:
        picker.report(picker.pick(ready, call), load, time.monotonic())

    for endpoint in ready:
        picker.report(endpoint, load, time.monotonic())
    return microseconds(both, 2000, repeat) - microseconds(report, 2000, repeat)


def change_cost(listed: int, repeat: int) -> float:
    """Microseconds for one instance that leaves and comes back, halved."""
    made = pipeline("least_loaded", listed)
    outside = next(
        one for one in map(instance, range(listed))
        if made.group.endpoint_of(one) is None or listed <= 20
    )  # fmt: skip

    def turn() -> None:
        made.group.apply(Change(left=frozenset({outside.id})))
        made.group.apply(Change(put=(outside,)))

    return microseconds(turn, 50, repeat) / 2


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.picks", description=__doc__)
    parser.add_argument("--repeat", type=int, default=20, help="of which the least counts")
    repeat = parser.parse_args(argv).repeat
    print(f"microseconds a pick (budget {BUDGET_US:g})")
    print("| balancer | " + " | ".join(f"{size:,} listed" for size in SIZES) + " |")
    print("|---|" + "---:|" * len(SIZES))
    for name in BALANCERS:
        costs = [pick_cost(name, size, repeat) for size in SIZES]
        print(f"| {name} | " + " | ".join(f"{cost:.2f}" for cost in costs) + " |", flush=True)
    changes = " | ".join(f"{change_cost(size, repeat):.1f}" for size in SIZES)
    print(f"| *one instance comes or goes* | {changes} |")


if __name__ == "__main__":
    main()
