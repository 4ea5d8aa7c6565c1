"""The clients that are compared: from replicas' addresses to something that makes one call.

Each is set up as a careful team would that read its documentation, with the same three attempts
and the same deadline, and with every knob that its documentation names for the faults played here.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from bench.echo import PATH, SERVICE, TEXT, EchoStub

Caller = Callable[[float], Awaitable[object]]
"""Makes one call with so many seconds for it; raises if it fails."""
Opener = Callable[[Sequence[str], Mapping[str, Any]], AbstractAsyncContextManager[Caller]]

ATTEMPTS: Final = 3
RETRY_POLICY: Final = {
    "maxAttempts": ATTEMPTS,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
CONNECTIVITY: Final = [
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
"""A frozen peer is found after 7 s at most, a restarted one within 2 s; as in seawall's presets."""
REQUEST: Final = StringValue(value=TEXT)


def config_option(document: Mapping[str, Any]) -> tuple[str, str]:
    return ("grpc.service_config", json.dumps(document))


@asynccontextmanager
async def bare(addresses: Sequence[str], extra: Mapping[str, Any]) -> AsyncIterator[Caller]:
    """One channel to one address, nothing configured; behind Envoy it is all there is."""
    target = extra.get("sidecar") or addresses[0]
    async with aio.insecure_channel(target) as channel:
        stub = EchoStub(channel)

        async def call(timeout: float) -> object:
            return await stub.Say(REQUEST, timeout=timeout)

        yield call


NATIVE: Final = {
    "loadBalancingConfig": [
        {
            "outlier_detection_experimental": {
                "interval": "1s",
                "baseEjectionTime": "5s",
                "maxEjectionTime": "30s",
                "maxEjectionPercent": 20,
                "successRateEjection": {
                    "stdevFactor": 1900,
                    "enforcementPercentage": 100,
                    "minimumHosts": 3,
                    "requestVolume": 10,
                },
                "failurePercentageEjection": {
                    "threshold": 50,
                    "enforcementPercentage": 100,
                    "minimumHosts": 3,
                    "requestVolume": 10,
                },
                "childPolicy": [{"round_robin": {}}],
            }
        }
    ],
    "methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": RETRY_POLICY}],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
"""gRPC's own tools. The outlier detection looks every second, in place of the standard ten."""


def native_limit_config(share: float) -> dict[str, Any]:
    """``NATIVE`` with a limit of ``share`` seconds for each attempt."""
    policy = {**RETRY_POLICY, "perAttemptRecvTimeout": f"{share:.3f}s"}
    return {**NATIVE, "methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": policy}]}


@asynccontextmanager
async def _native(
    addresses: Sequence[str], options: Sequence[tuple[str, Any]]
) -> AsyncIterator[Caller]:
    options = [*options, *CONNECTIVITY]
    async with aio.insecure_channel("ipv4:" + ",".join(addresses), options=options) as channel:
        stub = EchoStub(channel)

        async def call(timeout: float) -> object:
            return await stub.Say(REQUEST, timeout=timeout)

        yield call


def native(
    addresses: Sequence[str], extra: Mapping[str, Any]
) -> AbstractAsyncContextManager[Caller]:
    """gRPC's documented tools."""
    return _native(addresses, [config_option(NATIVE)])


def native_limit(
    addresses: Sequence[str], extra: Mapping[str, Any]
) -> AbstractAsyncContextManager[Caller]:
    """With a limit for each attempt, which the C core only reads when this argument is given."""
    config = native_limit_config(extra["deadline"] / ATTEMPTS)
    return _native(addresses, [config_option(config), ("grpc.experimental.enable_hedging", 1)])


@asynccontextmanager
async def glue(addresses: Sequence[str], extra: Mapping[str, Any]) -> AsyncIterator[Caller]:
    """tenacity and pybreaker round a stub over ``round_robin``; each attempt has a third."""
    import pybreaker
    import tenacity

    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=1)
    options = [
        config_option({"loadBalancingConfig": [{"round_robin": {}}]}),
        ("grpc.enable_retries", 0),
        *CONNECTIVITY,
    ]

    def passing(error: BaseException) -> bool:
        codes = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return isinstance(error, aio.AioRpcError) and error.code() in codes

    async with aio.insecure_channel("ipv4:" + ",".join(addresses), options=options) as channel:
        stub = EchoStub(channel)

        @tenacity.retry(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(1.0),
            wait=tenacity.wait_exponential_jitter(initial=0.05, max=1.0, jitter=0.02),
            retry=tenacity.retry_if_exception(passing),
            reraise=True,
        )
        async def attempt(until: float, share: float) -> object:
            with breaker.calling():
                left = max(until - time.monotonic(), 0.001)
                return await stub.Say(REQUEST, timeout=min(share, left))

        async def call(timeout: float) -> object:
            return await attempt(time.monotonic() + timeout, timeout / ATTEMPTS)

        yield call


@asynccontextmanager
async def kit(addresses: Sequence[str], extra: Mapping[str, Any]) -> AsyncIterator[Caller]:
    """grpc-client-kit by its factory: round robin with health checks, quarantine, retries."""
    from grpc_client_kit import ConnectivityConfig, GrpcClientFactory

    settings = SimpleNamespace(
        target=None, targets=list(addresses), insecure=True,
        tracing_enabled=False, metrics_enabled=False, logging_enabled=False,
        pool=None, timeout=None,
        circuit_breaker=SimpleNamespace(
            fail_threshold=5, recovery_timeout=1.0, half_open_max_calls=1),
        retry=SimpleNamespace(
            max_attempts=ATTEMPTS, initial_backoff=0.05, max_backoff=1.0, backoff_multiplier=2.0,
            idempotent_methods={PATH}),
        balancer=SimpleNamespace(strategy="round_robin", weights=None),
        health_checker=SimpleNamespace(check_interval=1.0, timeout=0.5),
        connectivity=ConnectivityConfig(
            keepalive_time=5.0, keepalive_timeout=2.0, permit_without_calls=True,
            max_pings_without_data=0, initial_reconnect_backoff=0.1, min_reconnect_backoff=0.1,
            max_reconnect_backoff=2.0),
    )  # fmt: skip
    async with GrpcClientFactory(settings, shutdown_grace=None) as factory:
        client = factory.create_client(EchoStub)

        async def call(timeout: float) -> object:
            # A stub is bound to the instance that was picked for it: one for each call.
            async with client as stub:
                return await stub.Say(REQUEST, timeout=timeout)

        yield call


@asynccontextmanager
async def seawall(addresses: Sequence[str], extra: Mapping[str, Any]) -> AsyncIterator[Caller]:
    """``seawall.connect``: its defaults, and that the method is idempotent; or a file's config."""
    entry = {"name": [{"service": SERVICE}], "seawall": {"idempotent": True}}
    async with _connected(addresses, extra.get("config") or {"methodConfig": [entry]}) as call:
        yield call


@asynccontextmanager
async def seawall_once(addresses: Sequence[str], extra: Mapping[str, Any]) -> AsyncIterator[Caller]:
    """One attempt a call, neither repeated nor hedged: what balancing does by itself."""
    entry = {"name": [{"service": SERVICE}], "seawall": {"retries": False}}
    async with _connected(addresses, {"methodConfig": [entry]}) as call:
        yield call


@asynccontextmanager
async def _connected(addresses: Sequence[str], config: Any) -> AsyncIterator[Caller]:
    from seawall import connect

    registry = "static://" + ",".join(addresses)
    async with connect(registry=registry, service_config=config) as fleet:
        stub = EchoStub(fleet)
        await fleet.channel_ready()

        async def call(timeout: float) -> object:
            return await stub.Say(REQUEST, timeout=timeout)

        yield call


KINDS: Final[dict[str, Opener]] = {
    "bare": bare, "native": native, "native-limit": native_limit, "glue": glue, "kit": kit,
    "envoy": bare, "seawall": seawall, "seawall-once": seawall_once,
}  # fmt: skip
