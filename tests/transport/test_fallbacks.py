"""Fallbacks that fail, hang, call themselves, or answer with the wrong thing."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from grpc import StatusCode, aio

import seawall
from seawall.events import ConfigReplaced
from tests.echo import failing
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.test_live_config import Keeping

REQUEST = pb.EchoRequest(text="hello")
OWN = pb.EchoReply(text="own")
LIMIT = 20.0


class Unspeakable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__


async def raising(call: Any, failure: Any) -> Any:
    raise Unspeakable


async def cancelled(call: Any, failure: Any) -> Any:
    raise asyncio.CancelledError


def silent(call: Any, failure: Any) -> Any:
    raise ValueError


@pytest.mark.parametrize("fallback", [raising, cancelled, silent])
async def test_one_that_fails_leaves_the_failure_as_it_was(start, echo, fallback) -> None:
    service = await start()
    service.hook = failing(StatusCode.INTERNAL)
    with seawall.options(fallback=fallback):
        async with asyncio.timeout(LIMIT):
            with pytest.raises(seawall.CallError) as caught:
                await echo.Say(REQUEST)
    assert caught.value.code() is StatusCode.INTERNAL
    assert "the fallback function failed too" in caught.value.explain()


async def test_calls_that_a_fallback_makes_do_not_fall_back_on_it(start, echo) -> None:
    service, depth = await start(), 0
    service.hook = failing(StatusCode.INTERNAL)

    async def again(call: Any, failure: Any) -> Any:
        nonlocal depth
        depth += 1
        return await echo.Charge(REQUEST)

    async with asyncio.timeout(LIMIT):
        with seawall.options(fallback=again), pytest.raises(seawall.CallError):
            await echo.Charge(REQUEST)
    assert depth == 1 and len(service.seen) == 2


async def test_one_that_sets_a_fallback_of_its_own_has_it(start, echo) -> None:
    service = await start()
    service.hook = failing(StatusCode.INTERNAL)

    async def other(call: Any, failure: Any) -> Any:
        with seawall.options(fallback=OWN):
            return await echo.Charge(REQUEST)

    with seawall.options(fallback=other):
        assert (await echo.Charge(REQUEST)) == OWN


async def test_cancelling_the_call_cancels_one_that_hangs(start, echo) -> None:
    service, begun, ended = await start(), asyncio.Event(), asyncio.Event()
    service.hook = failing(StatusCode.INTERNAL)

    async def hangs(call: Any, failure: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(LIMIT):
        with seawall.options(fallback=hangs):
            call = echo.Say(REQUEST)
        await begun.wait()
        assert call.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("answer", [None, 7, OWN])
async def test_what_is_no_stream_is_no_answer_for_a_stream(start, echo, answer) -> None:
    service = await start()
    service.hook = failing(StatusCode.INTERNAL)
    with seawall.options(fallback=answer):
        with pytest.raises(seawall.CallError, match="no iterable"):
            await echo.Count(REQUEST).read()


def falls_back_on(path: str) -> str:
    own = {"retries": False, "fallback": {"method": path}}
    return json.dumps({"methodConfig": [{"name": [{}], "timeout": "5s", "seawall": own}]})


@pytest.fixture
async def answered_by_another(start, registry):
    """A stream of a service that nobody serves, while another one answers in its place."""
    service = await start()
    own = {"retries": False, "fallback": {"method": "/seawall.tests.Echo/Count"}}
    document = {"methodConfig": [{"name": [{"service": "a.A"}], "timeout": "5s", "seawall": own}]}
    async with seawall.connect(registry, service_config=document) as channel:
        count = channel.unary_stream(
            "/a.A/Count", pb.EchoRequest.SerializeToString, pb.EchoReply.FromString
        )
        calls = [count(pb.EchoRequest(count=1, delay=60))]
        assert (await calls[0].read()).text == "0"
        yield service, calls


async def test_cancelling_a_stream_cancels_the_one_that_answers(answered_by_another) -> None:
    service, (call,) = answered_by_another
    async with asyncio.timeout(LIMIT):
        assert call.cancel()
        await service.cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await call.read()


async def test_one_that_is_dropped_drops_the_one_that_answers(answered_by_another) -> None:
    service, calls = answered_by_another
    calls.clear()
    gc.collect()
    async with asyncio.timeout(LIMIT):
        await service.cancelled.wait()


class Circle(Keeping):
    """Two services' configs: each has the other answer for it. No document alone is a circle."""

    async def configs(self, service: str) -> Any:
        other = "b.B" if service == "a.A" else "a.A"
        yield falls_back_on(f"/{other}/Get")
        await asyncio.Event().wait()


async def test_methods_that_answer_for_each_other_by_two_documents_do_so_once(registry) -> None:
    circle, heard = Circle(registry), Heard()
    async with seawall.connect(circle, service_config="registry", listener=heard) as channel:
        stubs = [channel.unary_unary(f"/{service}/Get") for service in ("a.A", "b.B")]
        await heard.told(ConfigReplaced, 2)
        async with asyncio.timeout(LIMIT):
            with pytest.raises(seawall.NoEndpoints) as caught:
                await stubs[0](b"")
        story = caught.value.explain()  # type: ignore[attr-defined]
        assert "a.A" in story and story.count("another method failed too") == 1
    await circle.close()


async def test_a_call_falls_back_as_it_began_though_the_config_has_changed(registry) -> None:
    keeping, heard = Keeping(registry), Heard()
    keeping.held.put_nowait(falls_back_on("/b.B/Get"))
    async with seawall.connect(keeping, service_config="registry", listener=heard) as channel:
        first = channel.unary_unary("/a.A/Get")
        await heard.told(ConfigReplaced)
        call = first(b"", wait_for_ready=True, timeout=0.3)
        keeping.held.put_nowait("{}")
        await heard.told(ConfigReplaced, 2)
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        story = caught.value.explain()  # type: ignore[attr-defined]
        assert "another method failed too: " in story and "Assertion" not in story
    await keeping.close()
