"""Servers that the tests call: real gRPC, on loopback, with instances that misbehave on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

from seawall import Service
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc


class EchoService(Service, pb_grpc.EchoServicer):
    """Answers, and counts: ``seen`` per method, ``cancelled`` handlers, ``running`` ones."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"registry": "memory://tests", "settle": 0.0, **settings})
        self.seen: list[str] = []
        self.cancelled = asyncio.Event()
        self.running = asyncio.Event()
        self.hook: Callable[[str, Any], Any] | None = None

    async def enter(self, name: str, request: Any, context: Any) -> None:
        self.seen.append(name)
        self.running.set()
        if self.hook is not None:
            await self.hook(name, context)
        if request is not None and request.delay:
            try:
                await asyncio.sleep(request.delay)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

    def reply(self, text: str, context: Any) -> pb.EchoReply:
        remaining = context.time_remaining()
        return pb.EchoReply(
            text=text, instance=self.address, remaining=-1 if remaining is None else remaining
        )

    async def Say(self, request, context):
        await self.enter("Say", request, context)
        return self.reply(request.text, context)

    async def Charge(self, request, context):
        await self.enter("Charge", request, context)
        return self.reply(request.text, context)

    async def Count(self, request, context):
        await self.enter("Count", None, context)
        for number in range(request.count):
            yield self.reply(str(number), context)
        if request.delay:
            try:
                await asyncio.sleep(request.delay)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

    async def Join(self, request_iterator, context):
        await self.enter("Join", None, context)
        texts = [request.text async for request in request_iterator]
        return self.reply(",".join(texts), context)

    async def Chat(self, request_iterator, context):
        await self.enter("Chat", None, context)
        async for request in request_iterator:
            yield self.reply(request.text, context)


def failing(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    trailing=(),
    times: int = 10**9,
    details: str = "told to fail",
):
    """A hook that aborts the first ``times`` calls."""
    left = [times]

    async def hook(name: str, context: Any) -> None:
        if left[0] > 0:
            left[0] -= 1
            await context.abort(code, details, trailing)

    return hook


@asynccontextmanager
async def plain_server(servicer: Any = None) -> AsyncIterator[str]:
    """A server without the framework; yields its address."""
    server = aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    if servicer is not None:
        pb_grpc.add_EchoServicer_to_server(servicer, server)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
