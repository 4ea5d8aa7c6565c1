"""The client of each row: from a kind and the servers' addresses to a stub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from grpc import aio

from bench.echo import SERVICE, EchoStub

if TYPE_CHECKING:
    from grpc.aio import ClientCallDetails

RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""What both gRPC's own retries and seawall's are given."""
NATIVE = {
    **RETRIES,
    "loadBalancingConfig": [{"round_robin": {}}],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}


class NoOp(aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg,misc,unused-ignore]
    """An interceptor that does nothing but pass the call on."""

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(client_call_details, request)


@asynccontextmanager
async def plain(target: str, **options: Any) -> AsyncIterator[EchoStub]:
    async with aio.insecure_channel(target, **options) as channel:
        yield EchoStub(channel)


def bare(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    return plain(addresses[0])


def round_robin(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    config = ("grpc.service_config", json.dumps(NATIVE))
    return plain("ipv4:" + ",".join(addresses), options=[config])


def interceptors(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    return plain(addresses[0], interceptors=[NoOp() for _ in range(5)])


def otel(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    from opentelemetry.instrumentation.grpc import aio_client_interceptors

    made = aio_client_interceptors()  # type: ignore[no-untyped-call,unused-ignore]
    return plain(addresses[0], interceptors=made)


@asynccontextmanager
async def fleet_of(registry: Any) -> AsyncIterator[EchoStub]:
    from seawall import connect

    # Idempotent, so that the limit of each attempt is armed as it is by default for such methods.
    entry = {**RETRIES["methodConfig"][0], "seawall": {"idempotent": True}}
    async with connect(registry=registry, service_config={"methodConfig": [entry]}) as fleet:
        yield EchoStub(fleet)


def seawall(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    return fleet_of("static://" + ",".join(addresses))


@asynccontextmanager
async def seawall_metrics(addresses: Sequence[str]) -> AsyncIterator[EchoStub]:
    from seawall.telemetry.endpoint import serve_metrics

    endpoint = serve_metrics("127.0.0.1:0")
    try:
        async with seawall(addresses) as stub:
            yield stub
    finally:
        endpoint.close()


def seawall_one(addresses: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    return seawall(addresses[:1])


def bare_unix(paths: Sequence[str]) -> AbstractAsyncContextManager[EchoStub]:
    return plain(f"unix:{paths[0]}")


@asynccontextmanager
async def seawall_unix(paths: Sequence[str]) -> AsyncIterator[EchoStub]:
    from seawall.call import Instance
    from seawall.registry import open_registry
    from seawall.transport.same_host import HOST, SOCKET, host_id

    registry = open_registry("memory://bench")
    # Nobody listens at these addresses: a call that did not go over the socket would fail.
    instances = [
        Instance(SERVICE, str(port), f"127.0.0.1:{port}", {HOST: host_id(), SOCKET: path})
        for port, path in enumerate(paths, 1)
    ]
    await registry.register(instances)
    try:
        async with fleet_of(registry) as stub:
            yield stub
    finally:
        await registry.close()


KINDS: dict[str, Callable[[Sequence[str]], AbstractAsyncContextManager[EchoStub]]] = {
    "bare": bare,
    "round-robin": round_robin,
    "interceptors": interceptors,
    "otel": otel,
    "seawall": seawall,
    "seawall-one": seawall_one,
    "seawall-metrics": seawall_metrics,
    "bare-unix": bare_unix,
    "seawall-unix": seawall_unix,
}
