"""Connections by the thousand: idle ones, and more than a process may have descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from grpc_health.v1 import health_pb2

from seawall.server.health import listener
from seawall.server.health.listener import Answers, HealthListener
from seawall.testing.etcd import free_ports
from tests.crowd import Crowd, room_for
from tests.http2 import Raw
from tests.limited import (
    FREE,
    REFUSED,
    SERVICE,
    Calls,
    Limited,
    call_anew,
    ends_well,
    healthy,
    is_at_rest,
    own_channel,
)
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.test_unary import until

MANY = 10_000
NORMAL = 10.0
"""Seconds for a call, at the most, while a busy machine takes thousands of connections in."""
MOST_MEMORY = 30_000
"""Bytes for an idle connection; 14,500 were measured, and 11,000 for one that says nothing."""


@pytest.fixture
def room(request) -> Iterator[int]:
    """Room for as many connections as the test's parameter says."""
    with room_for(request.param) as there_is:
        if not there_is:
            pytest.skip(f"{request.param} connections don't fit this machine's limit (ulimit -Hn)")
        yield request.param


@pytest.mark.parametrize("room", [MANY], indirect=True)
@pytest.mark.parametrize("greets", [True, False], ids=["greeted", "mute"])
async def test_ten_thousand_idle_connections_are_borne(room, greets):
    """All are taken, others are answered meanwhile, and everything is given back."""
    health = free_ports(1)[0]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            Limited(12_000, SEAWALL_HEALTH=f"127.0.0.1:{health}")
        )
        port = await server.port()
        channel = await stack.enter_async_context(own_channel(port))
        probes = await stack.enter_async_context(own_channel(health))
        stub = pb_grpc.EchoStub(channel)
        await stub.Say(pb.EchoRequest(text="hello"))
        await healthy(probes)
        before = server.held
        async with Crowd(port, greets=greets) as crowd, Calls(stub, NORMAL) as calls:
            await crowd.come(room)
            if greets:
                await crowd.until(lambda: crowd.greeted == room)
            await until(lambda: server.held.descriptors >= before.descriptors + room)
            full = server.held
            assert crowd.lost == 0
            await healthy(channel)
            await healthy(probes)
            await call_anew(port)
            assert calls.answered > 0
        assert (full.memory - before.memory) / room < MOST_MEMORY
        await server.comes_back_to(before.descriptors)
        await stub.Say(pb.EchoRequest(text="hello"), timeout=NORMAL)
        await ends_well(server)
        assert not server.said("descriptors")


@pytest.mark.parametrize(
    ("room", "limit"), [(1_000, 512), (MANY, 4_096)], indirect=["room"], ids=str
)
async def test_more_connections_than_descriptors(room, limit):
    """Those that it has go on, it says why it takes no more, and takes more when some close."""
    taken = limit - max(64, limit // 10)
    async with Limited(limit) as server:
        port = await server.port()
        async with own_channel(port) as channel:
            stub = pb_grpc.EchoStub(channel)
            await stub.Say(pb.EchoRequest(text="hello"))
            before = server.held.descriptors
            async with Crowd(port) as crowd, Calls(stub, NORMAL):
                await crowd.come(room)
                # One of those that are taken is the calls' own.
                await crowd.until(lambda: crowd.greeted + crowd.lost >= room)
                assert crowd.greeted == taken - 1
                assert "ulimits:" in (await server.says(REFUSED)).string
                await is_at_rest(server, stub)
                await healthy(channel)
                assert server.held.descriptors < limit
            await server.comes_back_to(before)
            await call_anew(port)
            await server.says(FREE)
            await ends_well(server)
            assert len(server.said("descriptors")) == 2, "thousands of times the same is no news"


async def test_who_crowds_the_health_port_takes_no_descriptors_from_callers():
    health = free_ports(1)[0]
    async with Limited(512, SEAWALL_HEALTH=f"127.0.0.1:{health}") as server:
        port = await server.port()
        async with Crowd(health) as crowd:
            await crowd.come(1_000)
            await crowd.until(lambda: crowd.greeted + crowd.lost >= 1_000)
            assert crowd.greeted == 32, "half of what is kept back"
            await call_anew(port)
        async with own_channel(health) as probes:
            await healthy(probes)
        await ends_well(server)
        assert not server.said("descriptors")


async def test_who_asks_for_no_health_is_let_go(monkeypatch):
    """A few idle connections can't keep the supervisor's probes out for long."""
    monkeypatch.setattr(listener, "_IDLE_MS", 50)
    monkeypatch.setattr(listener, "most_probes", lambda: 1)
    served = HealthListener("127.0.0.1:0", Answers(_Health(), _Watch(), 1.0))
    served.start()
    port = int(served.address.rpartition(":")[2])
    try:
        async with asyncio.timeout(20), Raw(port) as stranger:
            await stranger.greet()
            await stranger.hung_up()
            async with own_channel(port) as probes:
                await healthy(probes)
    finally:
        await served.stop()


class _Health:
    started = True
    statuses = {SERVICE: health_pb2.HealthCheckResponse.SERVING}


class _Watch:
    blocked = 0.0
