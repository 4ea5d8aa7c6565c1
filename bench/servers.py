"""The server of each row: from a kind to addresses that answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from bench.echo import Echo, EchoServicer, add_EchoServicer_to_server

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs: where, and how many calls it has had."""

    address: str
    calls: Callable[[], int]
    socket: str | None = None
    """The path of its Unix socket, if it has one."""


def open_socket(server: aio.Server) -> str | None:
    """Listen on a Unix socket such as seawall's clients trust, too."""
    from seawall.server.listening import unix_socket

    path = unix_socket.open_socket(server)
    return None if path is None else str(path)


@asynccontextmanager
async def plain(*, on_socket: bool = False, **options: Any) -> AsyncIterator[Serving]:
    echo, server = Echo(), aio.server(**options)
    add_EchoServicer_to_server(echo, server)
    port = server.add_insecure_port(f"{HOST}:0")
    path = open_socket(server) if on_socket else None
    await server.start()
    try:
        yield Serving(f"{HOST}:{port}", lambda: echo.calls, path)
    finally:
        await server.stop(grace=0)


def bare() -> AbstractAsyncContextManager[Serving]:
    return plain()


def both() -> AbstractAsyncContextManager[Serving]:
    """Bare, on a port and on a Unix socket."""
    return plain(on_socket=True)


def otel() -> AbstractAsyncContextManager[Serving]:
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    made = aio_server_interceptor()  # type: ignore[no-untyped-call,unused-ignore]
    return plain(interceptors=[made])


@asynccontextmanager
async def seawall(**more: Any) -> AsyncIterator[Serving]:
    from seawall import Service

    # The same work as ``Echo``, as one of seawall's services.
    class Served(Service, EchoServicer):
        calls = 0

        async def Say(self, request: StringValue, context: Any) -> StringValue:
            self.calls += 1
            return request

    settings = {"registry": "memory://bench", "host": HOST, "grace": 1.0, "settle": 0.0}
    service = Served(unix_socket=False, **settings, **more)
    async with service:
        yield Serving(f"{HOST}:{service.port}", lambda: service.calls)


def seawall_metrics() -> AbstractAsyncContextManager[Serving]:
    return seawall(metrics_address=f"{HOST}:0")


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Serving]]] = {
    "bare": bare,
    "both": both,
    "otel": otel,
    "seawall": seawall,
    "seawall-metrics": seawall_metrics,
}


@asynccontextmanager
async def several(kind: str, count: int) -> AsyncIterator[list[Serving]]:
    """``count`` servers of one kind in this process, each on a port of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(KINDS[kind]()) for _ in range(count)]
