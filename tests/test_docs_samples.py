"""What the pages show runs: each Python block, as it stands."""

import asyncio
import inspect
import os
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from seawall.context import current_options
from services.inventory import Inventory
from services.pb.orders_pb2 import QuoteRequest
from services.pb.orders_pb2_grpc import OrdersStub
from services.pb.recommendations_pb2_grpc import RecommendationsStub
from tests.pages import DOCS, PAGES, README, ROOT, blocks, executed, sample

CLIENT, SERVICE, SYNC, POLICY, BALANCERS, TRACING = (
    DOCS / f"{name}.md" for name in ("client", "service", "sync", "policy", "balancers", "tracing")
)
ALONE = ("Inventory.run()", "asyncio.run(main())", "set_tracer_provider")
"""Marks of what needs a process of its own."""
SAMPLES = [(path.name, code) for path in PAGES for code in blocks(path, "python")]
TESTS = [(name, code) for name, code in SAMPLES if "def test_" in code]
OTHERS = [one for one in SAMPLES if one not in TESTS and not any(m in one[1] for m in ALONE)]
FALLBACKS = [(n, code) for n, code in SAMPLES if n == CLIENT.name and "fallback=" in code]


def parametrize(samples: list[tuple[str, str]]):
    """Once for each Python block, under the name of its page."""
    chosen = [pytest.param(code, id=name) for name, code in samples]
    return pytest.mark.parametrize("code", chosen)


@asynccontextmanager
async def process(tmp_path: Path, code: str):
    """A Python process that runs ``code``; killed at the end if it still runs."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("SEAWALL_", "OTEL_"))}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=tmp_path,
        env=ours | {"PYTHONPATH": str(ROOT), "SEAWALL_REGISTRY": f"local://{tmp_path}/registry"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_the_server_and_the_client_of_the_readme(tmp_path):
    server_code, client_code = blocks(README, "python")
    assert len(server_code.splitlines()) <= 10 and len(client_code.splitlines()) <= 15
    async with asyncio.timeout(30), process(tmp_path, server_code) as server:
        while b"serving shop.v1.Inventory" not in (line := await server.stderr.readline()):
            assert line, "the server ended without serving"
        async with process(tmp_path, client_code) as client:
            out, errors = await client.communicate()
        assert out == b"100 in stock\n", errors.decode()
        server.send_signal(signal.SIGTERM)
        assert await server.wait() == 0


@parametrize(TESTS)
async def test_tests_that_are_shown_pass(code):
    tests = [value for name, value in executed(code).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        outcome = test()
        if inspect.isawaitable(outcome):
            async with asyncio.timeout(30):
                await outcome


@parametrize(OTHERS)
async def test_samples_can_be_executed(code, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("SEAWALL_REGISTRY", registry)
    monkeypatch.chdir(tmp_path)
    Path("policies.json").write_text(blocks(POLICY, "json")[0])
    names = executed(code)
    if "fleet" in names:
        await names["fleet"].close()


async def test_the_client_that_is_shown_is_answered(registry, monkeypatch):
    monkeypatch.setenv("SEAWALL_REGISTRY", registry)
    stock_of = executed(sample(CLIENT, "def stock_of"))["stock_of"]
    async with asyncio.timeout(10), Inventory(registry=registry, settle=0):
        assert await stock_of("rope") == 100


async def test_the_sync_client_that_is_shown_is_answered(tmp_path, monkeypatch):
    url = f"local://{tmp_path}/registry"
    monkeypatch.setenv("SEAWALL_REGISTRY", url)
    stock_of = executed(sample(SYNC, "def stock_of"))["stock_of"]
    async with asyncio.timeout(10), Inventory(registry=url, settle=0):
        assert await asyncio.to_thread(stock_of, "rope") == 100


@parametrize(FALLBACKS)
async def test_fallbacks_answer_where_nobody_serves(code, channel):
    async with asyncio.timeout(10):
        picks = await executed(code)["picks_for"](RecommendationsStub(channel), "ada")
    assert list(picks.skus) == ["rope", "lantern"]


async def test_the_service_that_is_shown_serves(registry, channel):
    settings = {"registry": registry, "settle": 0}
    orders = executed(sample(SERVICE, "class Orders"))["Orders"]
    async with asyncio.timeout(10), Inventory(**settings), orders(**settings):
        price = await OrdersStub(channel).Quote(QuoteRequest(sku="rope", count=2))
    assert (price.cents, price.available) == (3998, True)


async def test_the_hash_key_that_is_shown_reaches_the_call():
    class Stub:
        async def GetCart(self, request):
            return (current_options.get() or {})["hash_key"]

    user = uuid.uuid4().hex
    assert await executed(sample(BALANCERS, "hash_key=user"))["cart_of"](Stub(), None, user) == user


async def test_the_tracing_that_is_shown_tells_of_spans(tmp_path):
    code = sample(TRACING, "set_tracer_provider")
    code += 'trace.get_tracer("t").start_span("seen").end()\nprovider.shutdown()\n'
    async with asyncio.timeout(30), process(tmp_path, code) as child:
        out, errors = await child.communicate()
    assert b'"name": "seen"' in out, errors.decode()
