"""A client that connects to very many instances of one service; all are one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from bench.discovery.processes import Usage
from bench.discovery.roles import Action
from bench.echo import TEXT, Echo, EchoStub, add_EchoServicer_to_server
from seawall import connect
from seawall.events import EndpointConnected, Event

LIMIT = 100.0


class Dialler:
    """As a client it connects to all that it is given; as a server it is all of them.

    All of 127.0.0.0/8 is this machine, so one port is as many addresses as are wanted.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"connect": self.connect}

    async def open(self, serve: bool) -> dict[str, Any]:
        if not serve:
            return {}
        server = aio.server()
        add_EchoServicer_to_server(Echo(), server)
        port = server.add_insecure_port("0.0.0.0:0")
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return {"port": port}

    async def connect(self, port: int, count: int) -> dict[str, float]:
        """Connect to ``count`` addresses; what that takes until the last is connected."""
        addresses = [f"127.1.{number // 250}.{number % 250 + 1}:{port}" for number in range(count)]
        everybody, first, connected = asyncio.Event(), asyncio.Event(), 0

        def listener(event: Event) -> None:
            nonlocal connected
            if isinstance(event, EndpointConnected):
                connected += 1
                first.set()
                if connected == count:
                    everybody.set()

        before, began = Usage.of(), time.monotonic()
        async with connect("static://" + ",".join(addresses), listener=listener) as fleet:
            call = EchoStub(fleet).Say(StringValue(value=TEXT), timeout=LIMIT)
            await call
            answered = time.monotonic() - began
            async with asyncio.timeout(LIMIT):
                await everybody.wait()
            after, took = Usage.of(), time.monotonic() - began
            await asyncio.sleep(1.0)
            idle = Usage.of()
        return {
            "answered": answered, "connected": took, "cpu": after.cpu - before.cpu,
            "memory": after.memory - before.memory, "idle_cpu": idle.cpu - after.cpu,
        }  # fmt: skip

    async def aclose(self) -> None:
        await self._stack.aclose()
