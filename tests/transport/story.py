"""What callers and handlers see of calls that end in every way, told in lines: a program, run with
gRPC's core used directly and without (``SEAWALL_GRPC=public``). Both have to tell the same."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable
from contextvars import ContextVar
from typing import Any

from grpc import StatusCode

import seawall
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

LIMIT = 20.0
REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)
BIG = pb.EchoReply(text="x" * 1_000_000)
left: ContextVar[str] = ContextVar("left", default="nothing")


def tell(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Teller(EchoService):
    """Does in ``Chat`` what the first request says."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.enough = asyncio.Event()

    async def Charge(self, request: Any, context: Any) -> Any:
        await context.abort(StatusCode.NOT_FOUND, "no such account", (("x-account", "7"),))

    async def Say(self, request: Any, context: Any) -> Any:
        before = left.get()
        left.set(request.text)
        context.add_done_callback(lambda ended: tell("server: done with", request.text))
        return pb.EchoReply(text=(await super().Say(request, context)).text + ", " + before)

    async def Chat(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        first = await context.read()
        if first.text == "read":
            try:
                async with asyncio.timeout(0.02):
                    await context.read()
            except TimeoutError:
                yield pb.EchoReply(text="nothing came")
        elif first.text == "write":
            try:
                async with asyncio.timeout(0.05):
                    while True:
                        await context.write(BIG)
            except TimeoutError:
                self.enough.set()
                await context.abort(StatusCode.DATA_LOSS, "enough")
        else:
            async for request in request_iterator:
                yield pb.EchoReply(text=request.text)


async def end_of(name: str, call: Awaitable[Any]) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            reply = await call
        tell(name, "->", getattr(reply, "text", reply))
    except seawall.CallError as error:
        tell(name, "->", error.code().name, error.details(), dict(error.trailing_metadata() or ()))
    except asyncio.CancelledError:
        tell(name, "-> cancelled")


async def unary(stub: Any, channel: Any, service: Teller) -> None:
    for text in ("one", "two"):
        await end_of("unary", stub.Say(pb.EchoRequest(text=text)))
    await end_of("an error", stub.Charge(REQUEST))
    nobody = channel.unary_unary("/seawall.tests.Echo/Nobody")(b"")
    tell("nobody's ->", (await nobody.code()).name, await nobody.details())
    service.running.clear()
    call = stub.Say(SLOW)
    await service.running.wait()
    tell("cancelled:", call.cancel(), call.cancel(), call.done())
    await end_of("a cancelled call", call)
    await service.cancelled.wait()
    late = stub.Say(SLOW, timeout=0.05)
    tell("too late ->", (await late.code()).name)
    await end_of("waiting", stub.Charge(REQUEST).wait_for_connection())


async def streams(stub: Any, service: Teller) -> None:
    tell("stream ->", [reply.text async for reply in stub.Count(pb.EchoRequest(count=3))])
    for text in ("go on", "read"):
        chat = stub.Chat()
        for word in (text, "more") if text == "go on" else (text,):
            await chat.write(pb.EchoRequest(text=word))
        if text == "go on":
            await chat.done_writing()
        tell(text, "->", [reply.text async for reply in chat], (await chat.code()).name)
    chat = stub.Chat()
    await chat.write(pb.EchoRequest(text="write"))
    async with asyncio.timeout(LIMIT):
        await service.enough.wait()
        await end_of("write", rest_of(chat))
    chat = stub.Chat()
    await chat.write(pb.EchoRequest(text="go on"))
    try:
        async with asyncio.timeout(0.02):
            await chat.read()
    except TimeoutError:
        tell("a read given up ->", chat.cancelled(), (await chat.code()).name)


async def rest_of(chat: Any) -> Any:
    async for _ in chat:
        pass


async def main() -> None:
    logging.disable(logging.CRITICAL)
    async with Teller(host="127.0.0.1", unix_socket=False, grace=0.1, shedding=False) as service:
        async with seawall.connect(f"static://{service.address}") as channel:
            stub = pb_grpc.EchoStub(channel)
            await unary(stub, channel, service)
            await streams(stub, service)
            service.running.clear()
            last = stub.Count(pb.EchoRequest(count=1, delay=30))
            await last.read()
            server = service._server
            await asyncio.gather(server.stop(), server.stop())
            await server.stop()
            tell("stopped ->", (await last.code()).name)
            tell("after ->", (await stub.Say(REQUEST, timeout=0.3).code()).name)


if __name__ == "__main__":
    asyncio.run(main())
