"""Addresses that were given out anew: what a client takes for an instance of its service is one of
another. Its server says that it has no such method and ran nothing, and no call fails of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio

import seawall
import seawall.sync
from seawall import Service
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import until as wait_until
from tests.transport.test_unary import until

HELLO = pb.EchoRequest(text="hello", count=1)
LIMIT = 30.0
IN_TURN = {"loadBalancingConfig": [{"round_robin": {}}]}
"""The default would hardly go to an address again that was wrong once."""
ALONE = (("seawall-no-retry", "1"),)
"""Its caller tries again already: what is called for it is not."""


class Relay(Service, pb_grpc.RelayServicer):
    """Has an Echo at ``following`` charge, which must not be run twice."""

    def __init__(self, following: str = "static://127.0.0.1:1") -> None:
        super().__init__(registry="memory://reused", settle=0.0)
        self.channel: Any = None
        self._following = following

    async def on_start(self) -> None:
        self.channel = seawall.connect(self._following, service_config=IN_TURN)
        self.echo = pb_grpc.EchoStub(self.channel)

    async def on_stop(self) -> None:
        await self.channel.close()

    async def Forward(self, request: Any, context: Any) -> Any:
        return await self.echo.Charge(request)


class Nobody(grpc.GenericRpcHandler):
    """Another service, on a server without the framework that vouches in the way of gRFC A6."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def absent(requests: Any, context: Any) -> AsyncIterator[bytes]:
            vouch = (("grpc-retry-pushback-ms", "0"),)
            await context.abort(StatusCode.UNIMPLEMENTED, "Method not found!", vouch)
            yield b""

        return grpc.stream_stream_rpc_method_handler(absent)


@asynccontextmanager
async def plain() -> AsyncIterator[str]:
    """The address of a server of plain grpc.aio that has none of the methods."""
    server = aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    server.add_generic_rpc_handlers((Nobody(),))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def framework() -> AsyncIterator[str]:
    """The address of a seawall service of another kind."""
    async with Relay() as relay:
        yield relay.address


STRANGERS = pytest.mark.parametrize("stranger", [plain, framework])


@asynccontextmanager
async def reused(stranger: Callable[[], Any], strangers: int = 1) -> AsyncIterator[Any]:
    """An Echo, and a URL by which there are as many more of it as there are strangers."""
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(EchoService(registry="memory://reused"))
        others = [await stack.enter_async_context(stranger()) for _ in range(strangers)]
        yield echo, "static://" + ",".join([*others, echo.address])


def calling(url: str) -> Any:
    return seawall.connect(url, service_config=IN_TURN)


async def connected(channel: Any, count: int) -> None:
    await until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == count)


async def streamed() -> AsyncIterator[Any]:
    for _ in range(5):
        yield HELLO


async def of_each_kind(stub: Any) -> None:
    """A call of each arity, idempotent and not; but none that streams both ways, as grpc.aio
    often loses what the server said of those (docs/client.md)."""
    await stub.Say(HELLO)
    await stub.Charge(HELLO)
    assert [reply.text async for reply in stub.Count(HELLO)] == ["0"]
    assert (await stub.Join(streamed())).text == ",".join(["hello"] * 5)


@STRANGERS
async def test_no_call_fails_whatever_its_method(stranger: Any) -> None:
    async with reused(stranger, 2) as (echo, url), calling(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        await connected(channel, 3)
        async with asyncio.timeout(LIMIT):
            await of_each_kind(stub)
            await asyncio.gather(*(of_each_kind(stub) for _ in range(20)))
        assert {echo.seen.count(name) for name in ("Say", "Charge", "Count", "Join")} == {21}, (
            "once each"
        )
        assert not any(e.breaker.failures for e in channel.discoveries[0].group.endpoints)
        assert not any(e.outstanding for e in channel.discoveries[0].group.endpoints)


@STRANGERS
async def test_none_fails_in_the_middle_of_a_chain_that_is_trying_again(stranger: Any) -> None:
    async with reused(stranger) as (echo, url), Relay(url) as relay:
        await connected(relay.channel, 2)
        async with seawall.connect(f"static://{relay.address}") as channel:
            stub = pb_grpc.RelayStub(channel)
            async with asyncio.timeout(LIMIT):
                for _ in range(20):
                    await stub.Forward(HELLO, metadata=ALONE)
        assert echo.seen == ["Charge"] * 20


async def test_none_fails_when_two_services_have_each_others_addresses() -> None:
    """Each kind has one instance that is right, and one that is by now of the other kind."""
    async with AsyncExitStack() as stack:
        echoes = [
            await stack.enter_async_context(EchoService(registry="memory://reused"))
            for _ in range(2)
        ]
        right, moved = echoes
        relays = [Relay(f"static://{right.address}") for _ in range(2)]
        for relay in relays:
            await stack.enter_async_context(relay)
        url = (
            f"static://?seawall.tests.Echo={relays[0].address},{right.address}"
            f"&seawall.tests.Relay={moved.address},{relays[1].address}"
        )
        channel = await stack.enter_async_context(calling(url))
        echo, relay_stub = pb_grpc.EchoStub(channel), pb_grpc.RelayStub(channel)
        await until(lambda: sum(len(found.group.ready) for found in channel.discoveries) == 4)
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(
                *(call(HELLO) for call in (echo.Charge, relay_stub.Forward) for _ in range(20))
            )
        assert right.seen == ["Charge"] * 40 and moved.seen == []


@STRANGERS
async def test_a_method_that_nobody_has_is_asked_for_once_at_each(stranger: Any) -> None:
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(stranger()) for _ in range(3)]
        channel = await stack.enter_async_context(
            seawall.connect("static://" + ",".join(addresses))
        )
        stub = pb_grpc.EchoStub(channel)
        await connected(channel, 3)
        for call in (stub.Say, stub.Charge):
            async with asyncio.timeout(LIMIT):
                with pytest.raises(seawall.CallError) as caught:
                    await call(HELLO)
            error = caught.value
            assert error.code() is StatusCode.UNIMPLEMENTED
            assert sorted(one.address for one in error.attempts) == sorted(addresses)
            assert "none of the 3 that were asked has the method" in error.explain()


@STRANGERS
async def test_none_fails_of_the_sync_channels_calls(stranger: Any) -> None:
    def calls(url: str) -> None:
        with seawall.sync.connect(url, service_config=IN_TURN) as channel:
            stub = pb_grpc.EchoStub(channel)
            wait_until(lambda: len(channel.discoveries[0].group.ready) == 2)
            for _ in range(10):
                stub.Charge(HELLO, timeout=LIMIT)
                assert [reply.text for reply in stub.Count(HELLO, timeout=LIMIT)] == ["0"]
                assert [reply.text for reply in stub.Chat(iter([HELLO]), timeout=LIMIT)] == [
                    "hello"
                ]

    async with reused(stranger) as (echo, url):
        async with asyncio.timeout(LIMIT):
            await asyncio.to_thread(calls, url)
        assert echo.seen.count("Charge") == 10
