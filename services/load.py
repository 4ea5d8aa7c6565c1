"""The shop's customers, without end: the load of docker-compose.yml.

``python -m services.load`` makes the calls of the demo at an even rate, an open loop like the
demo's, and writes a line of JSON to stdout every second, and one for each call that failed. On
SIGTERM or SIGINT it waits for the calls under way, writes the last line, with ``"ended": true``,
and leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import seawall
from seawall.telemetry.endpoint import serve_metrics
from seawall.telemetry.setup import set_up_tracing
from services.demo.load import MIX, Record, Shopper, shop
from services.demo.report import percentile
from services.pb.orders_pb2_grpc import OrdersStub
from services.pb.storefront_pb2_grpc import StorefrontStub

RATE: Final = 20.0
"""Calls a second, if SHOP_RATE says nothing."""
IDEMPOTENT: Final = frozenset(MIX) - {"checkout"}
"""What may be repeated, by the protos: a checkout charges."""
OWED: Final = 5.0
"""Seconds of calls that are made up for. Who was suspended for longer does not start with a flood
of all the calls that were due meanwhile."""


@dataclass
class Tally:
    """What became of the calls so far."""

    calls: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """By kind and code: ``"checkout UNAVAILABLE"``."""
    idempotent_failed: int = 0
    fallbacks: int = 0

    def add(self, record: Record) -> None:
        self.calls[record.kind] += 1
        self.fallbacks += record.fallback
        if record.code != "OK":
            self.failed[f"{record.kind} {record.code}"] += 1
            self.idempotent_failed += record.kind in IDEMPOTENT

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls.total(),
            "failed": dict(self.failed),
            "idempotent_calls": sum(self.calls[kind] for kind in IDEMPOTENT),
            "idempotent_failed": self.idempotent_failed,
            "fallbacks": self.fallbacks,
        }


class Customers(Shopper):
    """Shoppers whose calls are counted, not kept: they may go on for weeks."""

    def __init__(self, storefront: StorefrontStub, orders: OrdersStub) -> None:
        # Orders have names of their own in each run: the ledger outlives us.
        super().__init__(f"{socket.gethostname()}-{time.time_ns()}", storefront, orders)
        self.tally = Tally()

    def keep(self, record: Record) -> None:
        self.recent.append(record)
        self.tally.add(record)
        if record.code != "OK":
            say({"kind": record.kind, "code": record.code, "story": record.story})

    def say(self, **more: Any) -> None:
        p99 = percentile([record.latency for record in self.recent], 99)
        say({**self.tally.as_json(), "p99_ms": round(p99 * 1000, 1), **more})


def say(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


async def tell(customers: Customers) -> None:
    while True:
        await asyncio.sleep(1)
        customers.say()


async def main(rate: float) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    async with seawall.connect() as fleet:
        customers = Customers(StorefrontStub(fleet), OrdersStub(fleet))
        await customers.warm_up()
        telling = asyncio.create_task(tell(customers))
        try:
            await shop(customers, rate, time.monotonic(), over.wait(), owed=OWED)
        finally:
            telling.cancel()
        customers.say(ended=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The shop's customers, until SIGTERM.")
    parser.add_argument(
        "--rate", type=float, default=float(os.environ.get("SHOP_RATE") or RATE), metavar="N",
        help=f"calls a second (environment: SHOP_RATE; default: {RATE:g})",
    )  # fmt: skip
    arguments = parser.parse_args()
    if not 0 < arguments.rate <= 1000:
        parser.error("--rate must be above 0 and at most 1000")
    set_up_tracing("load")
    if address := os.environ.get("SEAWALL_METRICS"):
        serve_metrics(address)
    asyncio.run(main(arguments.rate))
