"""Fixtures for tests on real gRPC over the in-memory registry."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings

import seawall
from tests.echo import EchoService
from tests.protos import echo_pb2_grpc as pb_grpc

# The same examples every time, and no word about how fast a busy machine makes them.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

Start = Callable[..., Awaitable[EchoService]]


@pytest.fixture(autouse=True)
def snapshots_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test keeps lists where the user's own are, or finds those of another test."""
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", "off")


@pytest.fixture
def registry() -> str:
    """The URL of an in-memory registry of this test's own."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
async def start(registry: str) -> AsyncIterator[Start]:
    """Starts an ``EchoService`` (keyword arguments: its settings); stopped at the test's end."""
    async with AsyncExitStack() as stack:

        async def begin(**settings) -> EchoService:
            return await stack.enter_async_context(EchoService(registry=registry, **settings))

        yield begin


@pytest.fixture
async def channel(registry: str) -> AsyncIterator[seawall.transport.aio.Channel]:
    async with seawall.connect(registry) as made:
        yield made


@pytest.fixture
async def echo(channel) -> pb_grpc.EchoStub:
    return pb_grpc.EchoStub(channel)
