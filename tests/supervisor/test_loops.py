"""Which event loop a process runs on."""

import asyncio
import sys
import types

import pytest

import seawall
from seawall.server.event_loop.factory import loop_factory
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv("SEAWALL_LOOP", raising=False)


@pytest.fixture
def uvloop(monkeypatch):
    """Stands for it where it is not installed."""
    module = types.ModuleType("uvloop")
    module.new_event_loop = asyncio.SelectorEventLoop
    monkeypatch.setitem(sys.modules, "uvloop", module)
    return module


@pytest.fixture
def no_uvloop(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)


def test_uvloop_is_used_where_it_is_installed(uvloop, monkeypatch):
    assert loop_factory(None) is loop_factory("uvloop") is uvloop.new_event_loop
    assert loop_factory("asyncio") is None
    monkeypatch.setenv("SEAWALL_LOOP", " Asyncio ")
    assert loop_factory(None) is None
    assert loop_factory("auto") is uvloop.new_event_loop


def test_where_it_is_not_it_has_to_be_asked_for_to_be_missed(no_uvloop):
    assert loop_factory(None) is None
    with pytest.raises(seawall.ConfigError, match="loop: uvloop is not installed: pip install"):
        loop_factory("uvloop")


def test_a_loop_that_nobody_knows_is_refused():
    with pytest.raises(seawall.ConfigError, match="loop: must be one of auto, asyncio, uvloop"):
        loop_factory("trio")


def test_calls_work_on_uvloop(registry):
    made = pytest.importorskip("uvloop").new_event_loop

    async def call() -> list[str]:
        async with EchoService(registry=registry), seawall.connect(registry) as channel:
            stub = pb_grpc.EchoStub(channel)
            assert (await stub.Say(pb.EchoRequest(text="one"), timeout=10)).text == "one"
            return [reply.text async for reply in stub.Count(pb.EchoRequest(count=2), timeout=10)]

    with asyncio.Runner(loop_factory=made) as runner:
        assert runner.run(call()) == ["0", "1"]
