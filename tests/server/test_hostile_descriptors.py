"""A server process without file descriptors: it says so, serves on, and recovers."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from seawall.call import Instance
from seawall.registry.local import LocalRegistry
from seawall.server.listening import descriptors
from seawall.server.listening.descriptors import Descriptors, most_connections, most_probes
from seawall.testing.etcd import free_ports
from tests.crowd import Crowd
from tests.limited import (
    REFUSED,
    SERVICE,
    Limited,
    call_anew,
    ends_well,
    healthy,
    is_at_rest,
    own_channel,
)
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.etcd_fixtures import Proxy, etcd, namespace, opened  # noqa: F401

USED_UP = "all \\d+ file descriptors are open"
UNSCRAPED = "requests for metrics can't be accepted"


async def metrics(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


async def listed(lists: AsyncIterator[tuple[Instance, ...]], count: int) -> None:
    """Wait for a list of so many."""
    async with asyncio.timeout(40):
        async for instances in lists:
            if len(instances) == count:
                return


async def test_without_any_descriptor_it_serves_on_and_recovers(tmp_path: Path):
    """The service itself has taken them all: what is connected goes on, what comes has to wait, the
    registry is lost and found again, and the instance stays announced."""
    health, scraped = free_ports(2)
    tmp_path.chmod(0o700)
    url = f"local://{tmp_path}"
    places = {"SEAWALL_HEALTH": f"127.0.0.1:{health}", "SEAWALL_METRICS": f"127.0.0.1:{scraped}"}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Limited(256, SEAWALL_REGISTRY=url, **places))
        port = await server.port()
        registry = LocalRegistry(url)
        stack.push_async_callback(registry.close)
        lists = registry.lists(SERVICE)
        await listed(lists, 1)
        changed = asyncio.create_task(listed(lists, 0))
        channel = await stack.enter_async_context(own_channel(port))
        probes = await stack.enter_async_context(own_channel(health))
        stub = pb_grpc.EchoStub(channel)
        await healthy(probes)
        await stub.Charge(pb.EchoRequest(text="all"))
        await server.says(USED_UP)
        # News in the directory, which it can't read.
        (tmp_path / f"{0:016x}-{0:08x}.json").write_text("{}")
        await server.says("RegistryLost .*Too many open files")
        await stub.Charge(pb.EchoRequest(text="those that it has freed by that"))
        waiting = [asyncio.create_task(each) for each in (call_anew(port), metrics(scraped))]
        await server.says(UNSCRAPED)
        await is_at_rest(server, stub)
        await healthy(channel)
        await healthy(probes)
        assert not any(each.done() for each in waiting)
        await stub.Charge(pb.EchoRequest(text="enough"))
        await asyncio.gather(*waiting)
        assert waiting[1].result().startswith(b"HTTP/1.1 200 OK")
        await server.says("RegistryRegained")
        assert not changed.done(), "it was on the list all the time"
        await ends_well(server)
        await changed
        assert [len(server.said(line)) for line in (UNSCRAPED, USED_UP)] == [1, 1]


async def test_etcd_while_there_is_no_descriptor(etcd, opened, namespace):  # noqa: F811
    """The lease is kept over the connection that there is. If that breaks, the next one has to wait
    for a descriptor; then the instance is announced again."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(etcd.client_port))
        url = f"etcd://{proxy.address}/{namespace}?ttl=2"
        server = await stack.enter_async_context(Limited(256, SEAWALL_REGISTRY=url))
        stub = pb_grpc.EchoStub(await stack.enter_async_context(own_channel(await server.port())))
        lists = opened(f"etcd://{etcd.address}/{namespace}").lists(SERVICE)
        await listed(lists, 1)
        changed = asyncio.create_task(listed(lists, 0))
        await stub.Charge(pb.EchoRequest(text="all"))
        await server.says(USED_UP)
        await stub.Say(pb.EchoRequest(text="hello", delay=4.0), timeout=20)
        assert not changed.done(), "its lease was kept for twice the time it has"
        await proxy.cut()
        await server.says("RegistryLost")
        await proxy.mend()
        await changed
        await is_at_rest(server, stub)
        await stub.Charge(pb.EchoRequest(text="enough"))
        await listed(lists, 1)
        await server.says("RegistryRegained")
        await ends_well(server)


async def test_etcd_is_found_again_at_the_limit_of_connections(etcd, opened, namespace):  # noqa: F811
    """What is kept back is for this."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(etcd.client_port))
        url = f"etcd://{proxy.address}/{namespace}?ttl=2"
        server = await stack.enter_async_context(Limited(512, SEAWALL_REGISTRY=url))
        crowd = await stack.enter_async_context(Crowd(await server.port()))
        await crowd.come(1_000)
        await server.says(REFUSED)
        await proxy.cut()
        await server.says("RegistryLost")
        await proxy.mend()
        await server.says("RegistryRegained")
        await listed(opened(f"etcd://{etcd.address}/{namespace}").lists(SERVICE), 1)
        assert crowd.greeted == 448
        await ends_well(server)


def test_how_many_connections_fit(monkeypatch):
    def fitting(limit):
        monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
        return most_connections(), most_probes()

    assert [fitting(limit) for limit in (2, 64, 256, 1024, 1 << 20)] == [
        (1, 1), (32, 16), (192, 32), (922, 51), (943719, 512),
    ]  # fmt: skip
    assert fitting(resource.RLIM_INFINITY) == (None, 512)


SCARCE, NONE = 20, descriptors._LARGEST
SAID = {"refused": "are refused", "none": "no file opened", "free": "are taken"}


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([19, SCARCE, 30, SCARCE], ["refused"]),
        ([SCARCE, 5, 5, SCARCE, 5, 5, SCARCE], ["refused"]),
        ([SCARCE, 5, 5, 5, SCARCE], ["refused", "free", "refused"]),
        ([SCARCE, NONE, SCARCE, NONE, 5, 5, 5], ["refused", "none", "free"]),
        ([SCARCE] * 301, ["refused"] * 3),
    ],
    ids=["once", "come and go", "over", "worse", "five minutes"],
)
async def test_when_few_descriptors_are_told(monkeypatch, caplog, looks, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (32, 32))
    monkeypatch.setattr(descriptors, "_EVERY", 0.0)
    left = iter(looks)
    over = asyncio.Event()

    def lowest() -> int:
        free = next(left, None)
        if free is None:
            over.set()
        return looks[-1] if free is None else free

    monkeypatch.setattr(descriptors, "_lowest_free", lowest)
    with caplog.at_level(logging.INFO, "seawall.server"):
        watch = Descriptors(20).open()
        async with asyncio.timeout(10):
            await over.wait()
        watch.close()
    said = [name for text in caplog.messages for name, part in SAID.items() if part in text]
    assert said == expected
    assert all("ulimit -n" in record.message for record in caplog.records if record.levelno > 20)
