"""The load of docker-compose.yml: what it counts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from seawall import Service
from services.demo.load import Record, Shopper, shop
from services.load import Customers, Tally
from services.pb.orders_pb2 import Price, QuoteRequest
from services.pb.orders_pb2_grpc import OrdersServicer
from services.pb.storefront_pb2 import CheckoutRequest, Confirmation, HomePage, HomeRequest
from services.pb.storefront_pb2_grpc import StorefrontServicer
from tests.compose.instruments import Count


def record(kind: str, code: str = "OK", *, fallback: bool = False) -> Record:
    return Record(kind, 0.0, 0.01, code, fallback, "" if code == "OK" else "the story")


def test_a_checkout_that_fails_is_not_counted_as_idempotent() -> None:
    tally = Tally()
    for one in (
        record("browse"),
        record("browse", fallback=True),
        record("stock", "UNAVAILABLE"),
        record("checkout", "UNAVAILABLE"),
        record("checkout", "UNAVAILABLE"),
        record("checkout"),
    ):
        tally.add(one)
    assert tally.as_json() == {
        "calls": 6,
        "failed": {"stock UNAVAILABLE": 1, "checkout UNAVAILABLE": 2},
        "idempotent_calls": 3,
        "idempotent_failed": 1,
        "fallbacks": 1,
    }


def test_customers_keep_no_record_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    customers = Customers(None, None)  # type: ignore[arg-type]
    for _ in range(1000):
        customers.keep(record("browse"))
    customers.keep(record("stock", "INTERNAL"))
    assert customers.records == [] and len(customers.recent) == 200
    assert customers.tally.calls.total() == 1001
    told = json.loads(capsys.readouterr().out)
    assert told == {"kind": "stock", "code": "INTERNAL", "story": "the story"}


class Late(Shopper):
    """Counts; nobody is called."""

    def __init__(self, wanted: int) -> None:
        super().__init__("plain", None, None)  # type: ignore[arg-type]
        self.over = asyncio.Event()
        self._wanted = wanted

    async def visit(self, kind: str, number: int | str) -> bool:
        if len(self.records) + 1 >= self._wanted:
            self.over.set()
        return False


async def test_who_was_suspended_does_not_start_with_a_flood() -> None:
    start = asyncio.get_running_loop().time() - 3600
    late = Late(3)
    async with asyncio.timeout(20):
        await shop(late, 10, start, late.over.wait(), owed=5)
    assert len(late.records) < 20  # and not the 36,000 that were due
    assert all(record.latency < 5 for record in late.records)


class Shop(Service, StorefrontServicer, OrdersServicer):
    """Stands for all of it; stock is a secret."""

    async def Home(self, request: HomeRequest, context: Any) -> HomePage:
        return HomePage(skus=["rope"], personal=False)

    async def Quote(self, request: QuoteRequest, context: Any) -> Price:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
        raise AssertionError("abort raises")

    async def Checkout(self, request: CheckoutRequest, context: Any) -> Confirmation:
        return Confirmation(order_id=request.order_id, cents=1)


async def test_it_runs_until_sigterm_and_has_the_last_word(tmp_path: Path) -> None:
    registry = f"local://{tmp_path}/registry"
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("SEAWALL_", "OTEL_"))}
    async with asyncio.timeout(40), Shop(registry=registry):
        load = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.load", "--rate", "100",
            env=ours | {"SEAWALL_REGISTRY": registry, "SEAWALL_SNAPSHOTS": "off"},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert load.stdout is not None
            while True:
                said = json.loads(await load.stdout.readline())
                if said.get("idempotent_failed") and said["fallbacks"]:
                    break
            load.send_signal(signal.SIGTERM)
            last = (await load.stdout.read()).decode().splitlines()[-1]
            assert await load.wait() == 0
        finally:
            if load.returncode is None:
                load.kill()
                await load.wait()
    count = Count(**json.loads(last))
    assert count.ended
    assert set(count.failed) == {"stock PERMISSION_DENIED"}
    assert count.failed["stock PERMISSION_DENIED"] == count.idempotent_failed
    assert count.calls > count.idempotent_calls > count.idempotent_failed
