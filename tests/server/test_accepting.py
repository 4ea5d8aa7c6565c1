"""The loop that takes calls in: what handlers see, who is told, how it stops."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from grpc import StatusCode, aio

from seawall.events import ServerFailed
from seawall.server.listening import accepting
from seawall.server.listening.accepting import Accepting, Serving, make_server
from seawall.transport.batches import core
from seawall.transport.translate import PUSHBACK
from tests.echo import EchoService
from tests.heard import Heard
from tests.hostile import ARITIES
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

LIMIT = 20.0
REQUEST = pb.EchoRequest(text="hello")
started: ContextVar[str] = ContextVar("started", default="")
handled: ContextVar[str] = ContextVar("handled", default="")

direct_only = pytest.mark.skipif(
    os.environ.get("SEAWALL_GRPC") == "public", reason="about what that switches off"
)


class Servicer(pb_grpc.EchoServicer):
    """Notes what it sees; holds calls until ``go``."""

    def __init__(self) -> None:
        self.contexts: set[tuple[str, str]] = set()
        self.done = Counter[str]()
        self.here = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    def _enter(self, name: str, context: Any) -> None:
        self.contexts.add((started.get(), handled.get()))
        handled.set("by another call")
        context.add_done_callback(lambda ended: self.done.update([name]))
        self.here.release()

    async def Say(self, request: Any, context: Any) -> Any:
        self._enter("Say", context)
        if request.text == "hold":
            await self.go.wait()
        if request.text == "abort":
            await context.abort(StatusCode.ABORTED, "told to")
        if request.text == "raise":
            raise LookupError("mine")
        return pb.EchoReply(text=request.text)

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._enter("Count", context)
        yield pb.EchoReply(text="0")
        if request.text == "hold":
            await self.go.wait()

    async def Join(self, request_iterator: Any, context: Any) -> Any:
        self._enter("Join", context)
        return pb.EchoReply(text=",".join([one.text async for one in request_iterator]))

    async def Chat(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        self._enter("Chat", context)
        async for request in request_iterator:
            yield pb.EchoReply(text=request.text)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Servicer, Any, Any]]:
    """The servicer, its server, and a stub that calls it."""
    servicer, server = Servicer(), make_server()
    pb_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    async with asyncio.timeout(LIMIT):
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield servicer, server, pb_grpc.EchoStub(channel)
        finally:
            await server.stop(None)


async def requests() -> AsyncIterator[Any]:
    yield REQUEST


async def all_four(stub: Any) -> list[str]:
    return [
        (await stub.Say(REQUEST)).text,
        *[reply.text async for reply in stub.Count(REQUEST)],
        (await stub.Join(requests())).text,
        *[reply.text async for reply in stub.Chat(requests())],
    ]


async def emptied(server: Any) -> None:
    """Wait until nothing is kept of calls that have ended."""
    while server._server._serving:
        await asyncio.sleep(0.005)


async def test_each_call_has_a_context_of_its_own():
    started.set("here")
    async with serving() as (servicer, server, stub):
        started.set("later")
        for each in await asyncio.gather(*(all_four(stub) for _ in range(20))):
            assert each == ["hello", "0", "hello", "hello"]
        while servicer.done.total() < 80:
            await asyncio.sleep(0.005)
        assert servicer.done == dict.fromkeys(ARITIES, 20)
        if isinstance(server._server, Accepting):
            await emptied(server)
    assert servicer.contexts == {("here", "")}


async def test_callbacks_hear_of_every_end():
    async with serving() as (servicer, _, stub):
        texts = ("ok", "abort", "raise")
        ends = [await stub.Say(pb.EchoRequest(text=text)).code() for text in texts]
        held = [stub.Say(pb.EchoRequest(text="hold")), stub.Count(pb.EchoRequest(text="hold"))]
        held.append(stub.Join())
        await held[2].write(REQUEST)
        for _ in range(6):
            await servicer.here.acquire()
        for call in held:
            call.cancel()
        while servicer.done.total() < 6:
            await asyncio.sleep(0.005)
    assert ends == [StatusCode.OK, StatusCode.ABORTED, StatusCode.UNKNOWN]
    assert servicer.done == {"Say": 4, "Count": 1, "Join": 1}


@pytest.mark.parametrize("grace", [None, 0.05, LIMIT])
async def test_a_stop_with_calls_under_way(grace):
    async with serving() as (servicer, server, stub):
        calls = [stub.Say(pb.EchoRequest(text="hold")) for _ in range(5)]
        stream = stub.Count(pb.EchoRequest(text="hold"))
        await stream.read()
        for _ in range(6):
            await servicer.here.acquire()
        stopping = [asyncio.create_task(server.stop(grace)) for _ in range(2)]
        late = stub.Say(REQUEST)
        assert await late.code() is not StatusCode.OK
        if grace == LIMIT:
            servicer.go.set()
        await asyncio.gather(*stopping)
        codes = {await call.code() for call in (*calls, stream)}
        if isinstance(server._server, Accepting):
            await emptied(server)
            while server._server._tasks:
                await asyncio.sleep(0.005)
    assert codes == {StatusCode.OK if grace == LIMIT else StatusCode.UNAVAILABLE}
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "accepting"]


async def test_a_stop_before_and_after_anything():
    server = make_server()
    await server.stop(None)
    for _ in range(2):
        async with serving() as (_, server, stub):
            assert (await stub.Say(REQUEST)).text == "hello"
            for _ in range(3):
                await server.stop(None)
            await server.wait_for_termination()
    assert len(asyncio.all_tasks()) == 1


@direct_only
async def test_a_method_that_is_not_there_may_be_tried_elsewhere_at_once():
    async with EchoService(host="127.0.0.1") as service, asyncio.timeout(LIMIT):
        async with aio.insecure_channel(service.address) as channel:
            call = channel.unary_unary("/seawall.tests.Echo/Nobody")(b"")
            assert await call.code() is StatusCode.UNIMPLEMENTED
            assert await call.details() == "Method not found!"
            assert dict(await call.trailing_metadata()) == {PUSHBACK: "0"}


@direct_only
async def test_a_method_that_is_no_longer_answered_is_told():
    heard = Heard()
    async with asyncio.timeout(LIMIT), EchoService(listener=heard, host="127.0.0.1"):
        accepts = [task for task in asyncio.all_tasks() if task.get_name() == "accepting"]
        assert len(accepts) > len(ARITIES)
        accepts[0].cancel()
        event = await heard.told(ServerFailed)
    assert "was cancelled" in event.problem


@direct_only
async def test_trouble_with_one_call_is_that_calls(caplog):
    loop, among = asyncio.get_running_loop(), set[Serving]()
    waiting = loop.create_future()

    async def breaks() -> None:
        await waiting
        raise LookupError("mine")

    Serving(breaks(), among)
    assert len(among) == 1
    waiting.set_result(None)
    while among:
        await asyncio.sleep(0)
    assert "a call could not be served to its end" in caplog.text and "mine" in caplog.text


async def test_where_a_name_is_missing_the_server_is_grpcs_own(monkeypatch):
    monkeypatch.setattr(accepting, "usable", lambda *names: False)
    async with serving() as (_, server, stub):
        assert type(server._server) is core.AioServer
        assert await all_four(stub) == ["hello", "0", "hello", "hello"]


async def test_servers_of_others_are_grpcs_own():
    make_server()
    with pytest.raises((TypeError, AttributeError, ValueError)):
        make_server(options=[("grpc.any", object())])
    assert not issubclass(core.AioServer, Accepting)
    assert type(aio.server()._server) is core.AioServer
