"""The load: an open loop of shop visitors, one process for each world.

A call starts at its scheduled moment whatever became of the others, and its latency counts from
that moment: a client that is stuck can't hide it by asking less (coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc.aio
from opentelemetry import trace

import seawall
from services import run, traces
from services.demo import SIDES
from services.demo.report import percentile
from services.pb.orders_pb2 import QuoteRequest
from services.pb.orders_pb2_grpc import OrdersStub
from services.pb.storefront_pb2 import CheckoutRequest, HomeRequest
from services.pb.storefront_pb2_grpc import StorefrontStub
from services.plain import plain

MIX: Final = {"browse": 0.5, "stock": 0.35, "checkout": 0.15}
TIMEOUTS: Final = {"browse": 1.5, "stock": 1.5, "checkout": 3.0}
"""Seconds a visitor waits, the same in both worlds."""
WARM_UP: Final = 40
"""Calls, one after the other, before the load starts: they aren't counted."""
TRACED: Final = 4
"""Every so many checkouts of seawall's side, one is traced."""


@dataclass(frozen=True, slots=True)
class Record:
    """One call of the load."""

    kind: str
    at: float
    """Seconds from the start of the load, as scheduled."""
    latency: float
    """Seconds from its scheduled moment to its end."""
    code: str
    fallback: bool = False
    story: str = ""
    """What the error had to say, if it was one."""


def visits(seed: int, rate: float) -> Iterator[tuple[float, str, int]]:
    """When (seconds), what, and a number; endless, and the same for the same seed."""
    rng = random.Random(seed)
    kinds, weights = list(MIX), list(MIX.values())
    for number in itertools.count():
        yield number / rate, rng.choices(kinds, weights)[0], number


class Shopper:
    """Makes the calls of one side and keeps their records."""

    def __init__(self, side: str, storefront: StorefrontStub, orders: OrdersStub) -> None:
        self.records: list[Record] = []
        self.recent: deque[Record] = deque(maxlen=200)
        self._side = side
        self._storefront = storefront
        self._orders = orders
        self._rng = random.Random(7)
        self._tracer = _tracer() if side == "seawall" else None

    async def visit(self, kind: str, number: int | str) -> bool:
        """One call; whether its answer was a fallback."""
        timeout = TIMEOUTS[kind]
        sku = self._rng.choice(("rope", "chart", "buoy"))
        if kind == "browse":
            home = HomeRequest(customer=f"customer-{number}")
            page = await self._storefront.Home(home, timeout=timeout)
            return not page.personal
        if kind == "stock":
            await self._orders.Quote(QuoteRequest(sku=sku, count=2), timeout=timeout)
            return False
        order = CheckoutRequest(order_id=f"{self._side}-{number}", sku=sku, count=1)
        with self._span(number):
            await self._storefront.Checkout(order, timeout=timeout)
        return False

    def _span(self, number: int | str) -> AbstractContextManager[Any]:
        if self._tracer is None or not isinstance(number, int) or number % TRACED:
            return nullcontext()
        return self._tracer.start_as_current_span(f"checkout {self._side}-{number}")

    async def record(self, kind: str, at: float, number: int, start: float) -> None:
        code, story, fallback = "OK", "", False
        try:
            fallback = await self.visit(kind, number)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            explain: Callable[[], str] | None = getattr(error, "explain", None)
            story = explain() if explain else str(error.details())
        latency = time.monotonic() - start - at
        self.keep(Record(kind, at, latency, code, fallback, story))

    def keep(self, record: Record) -> None:
        self.records.append(record)
        self.recent.append(record)

    async def warm_up(self) -> None:
        for number in range(WARM_UP):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self.visit(list(MIX)[number % len(MIX)], f"warm-{number}")


def _tracer() -> trace.Tracer | None:
    path = os.environ.get(traces.FILE)
    return traces.provider(Path(path), "shopper", always=True).get_tracer("demo") if path else None


@contextlib.asynccontextmanager
async def shopper(side: str) -> AsyncIterator[Shopper]:
    if side == "plain":
        yield Shopper(side, plain(StorefrontStub), plain(OrdersStub))
        return
    async with seawall.connect() as fleet:
        yield Shopper(side, StorefrontStub(fleet), OrdersStub(fleet))


async def shop(
    visitor: Shopper,
    rate: float,
    start: float,
    over: Awaitable[object],
    *,
    owed: float = math.inf,
) -> None:
    """Make the calls as scheduled until ``over``; return when all have ended.

    Calls that are more than ``owed`` seconds late, as this process was suspended, move the
    schedule on.
    """
    over = asyncio.ensure_future(over)
    calls: set[asyncio.Task[None]] = set()
    for at, kind, number in visits(1, rate):
        delay = start + at - time.monotonic()
        if delay < -owed:
            start -= delay
        if delay > 0:
            await asyncio.wait([over], timeout=delay)
        if over.done():
            break
        call = asyncio.create_task(visitor.record(kind, at, number, start))
        calls.add(call)
        call.add_done_callback(calls.discard)
    if calls:
        await asyncio.wait(calls)


async def tell(visitor: Shopper) -> None:
    """Say how it goes, twice a second, one JSON object a line."""
    failed: Counter[bool] = Counter()
    seen = 0
    while True:
        await asyncio.sleep(0.5)
        failed.update(record.code != "OK" for record in visitor.records[seen:])
        seen = len(visitor.records)
        p99 = percentile([record.latency for record in visitor.recent], 99)
        print(json.dumps({"calls": seen, "failed": failed[True], "p99": p99}), flush=True)


async def main(side: str, rate: float) -> list[Record]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with shopper(side) as visitor:
        await visitor.warm_up()
        print(json.dumps({"ready": True}), flush=True)
        start = float(await reader.readline())
        teller = asyncio.create_task(tell(visitor))
        try:
            await shop(visitor, rate, start, reader.read())
        finally:
            teller.cancel()
    return visitor.records


if __name__ == "__main__":
    run.die_with_parent()
    parser = argparse.ArgumentParser(description="The load of the demo, one side of it.")
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("rate", type=float)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    traces.set_up("shopper")
    records = asyncio.run(main(arguments.side, arguments.rate))
    lines = (json.dumps(asdict(record)) + "\n" for record in records)
    arguments.out.write_text("".join(lines), encoding="utf-8")
