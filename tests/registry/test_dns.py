"""``dns://``: what is listed, and how often it is looked up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import dns.rcode
import pytest

import seawall
from seawall.call import Instance
from seawall.errors import RegistryError
from seawall.registry.dns import DnsRegistry, lookup, system
from seawall.registry.dns.lookup import Resolver, Unanswered
from seawall.testing.registry import LIMIT, until
from tests.conftest import Start
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.dns_fixtures import (
    NAME,
    SERVICE,
    SRV,
    Opened,
    addresses,
    at,
    first,
    opened,
    server,
)
from tests.registry.dns_server import DnsServer

__all__ = ["opened", "server"]


# What is listed


async def test_addresses_of_a_name(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.2", "10.0.0.1")
    server.put(NAME, "AAAA", "fd00::1")
    found = await first(opened(f"{NAME.upper()}:50051"))
    assert found == (at("10.0.0.1:50051"), at("10.0.0.2:50051"), at("[fd00::1]:50051"))


async def test_several_names_and_ports(server: DnsServer, opened: Opened) -> None:
    server.put("a.test", "A", "10.0.0.1")
    server.put("b.test", "A", "10.0.0.1", "10.0.0.2")
    found = await first(opened("a.test:1,b.test:1,a.test:2,10.0.0.9:3"))
    assert addresses(found) == ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.9:3"]
    assert server.asked["a.test", "A"] == 1


async def test_by_service(server: DnsServer, opened: Opened) -> None:
    server.put("a.test", "A", "10.0.0.1")
    server.put("b.test", "A", "10.0.0.2")
    registry = opened("a.test:1?x.Y=b.test:2")
    assert await first(registry, "x.Y") == (at("10.0.0.2:2", "x.Y"),)
    assert addresses(await first(registry, "x.Z")) == ["10.0.0.1:1"]
    assert await first(opened("?x.Y=b.test:2"), "x.Z") == ()


async def test_an_alias(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "CNAME", "b.test.")
    server.put("b.test", "CNAME", "c.test.")
    server.put("c.test", "A", "10.0.0.3")
    assert addresses(await first(opened())) == ["10.0.0.3:50051"]


@pytest.mark.parametrize("name", [NAME, SRV])
async def test_srv(name: str, server: DnsServer, opened: Opened) -> None:
    server.put(SRV, "SRV", "1 20 5001 b.test.", "1 0 5001 a.test.", "2 9 5009 c.test.")
    server.put("a.test", "A", "10.0.0.1")
    server.put("b.test", "A", "10.0.0.2")
    server.put("b.test", "AAAA", "fd00::2")
    assert await first(opened(name)) == (
        at("10.0.0.1:5001", weight=0.01),
        at("10.0.0.2:5001", weight=20),
        at("[fd00::2]:5001", weight=20),
    )
    assert not server.asked["c.test", "A"], "only the lowest priority counts"


async def test_addresses_that_come_with_srv_are_not_asked_for(
    server: DnsServer, opened: Opened
) -> None:
    server.put(SRV, "SRV", "0 1 5001 a.test.", "0 1 5001 b.test.")
    server.put("b.test", "A", "10.0.0.2")
    server.additional["a.test"] = "10.0.0.1"
    assert addresses(await first(opened(NAME))) == ["10.0.0.1:5001", "10.0.0.2:5001"]
    assert not server.asked["a.test", "A"]


async def test_a_service_that_is_decidedly_not_there(server: DnsServer, opened: Opened) -> None:
    server.put(SRV, "SRV", "0 0 0 .")
    registry = opened(NAME)
    lists = registry.lists(SERVICE)
    assert await until(lists, set()) == ()
    assert "says there is none" in (registry.problem or "")
    assert not registry.events


async def test_literal_addresses_need_no_server() -> None:
    async with opened_for("dns://10.0.0.1:1,[fd00::1]:2?resolver=127.0.0.1:9") as registry:
        assert addresses(await first(registry)) == ["10.0.0.1:1", "[fd00::1]:2"]
        assert registry.problem is None


# The system's view


async def test_a_name_of_the_hosts_file(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_asks(server, monkeypatch, tmp_path, "")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    async with opened_for("dns://localhost:1") as registry:
        assert addresses(await first(registry)) == ["127.0.0.1:1", "[::1]:1"]
    assert not server.asked


async def test_the_search_list(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_asks(server, monkeypatch, tmp_path, "search shop.test other.test\noptions ndots:5\n")
    server.put("inventory.shop.test", "A", "10.0.0.1")
    server.put("inventory.other.test", "AAAA", "fd00::2")
    server.put("_grpc._tcp.orders.other.test", "SRV", "0 1 5001 a.test.")
    server.put("a.test", "A", "10.0.0.3")
    async with opened_for("dns://inventory:1?x.Y=orders") as registry:
        assert addresses(await first(registry)) == ["10.0.0.1:1"], "found in the first domain"
        assert addresses(await first(registry, "x.Y")) == ["10.0.0.3:5001"]


async def test_two_hosts_are_never_made_one(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that knows no AAAA may deny the name, and then the search goes on elsewhere."""
    system_asks(server, monkeypatch, tmp_path, "search shop.test other.test\noptions ndots:5\n")
    server.put("inventory.shop.test", "A", "10.0.0.1")
    server.put("inventory.other.test", "AAAA", "fd00::2")

    def manner(query: dns.message.Message) -> dns.message.Message:
        response = server.answer(query)
        if not response.answer:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    server.manner = manner
    async with opened_for("dns://inventory:1") as registry:
        assert addresses(await first(registry)) == ["10.0.0.1:1"]
    assert server.asked["inventory.other.test", "AAAA"] == 1


async def test_without_a_server_in_resolv_conf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lookup, "RESOLV_CONF", tmp_path / "resolv.conf")
    with pytest.raises(Unanswered, match="names no DNS server: name one in the URL"):
        await Resolver().ask("a.test", "A")
    (tmp_path / "resolv.conf").write_text("search a.test\n")
    with pytest.raises(Unanswered, match="names no DNS server"):
        await Resolver().ask("a.test", "A")


# Watching


async def test_changes_are_listed(server: DnsServer, opened: Opened) -> None:
    server.put(SRV, "SRV", "0 1 5001 a.test.")
    server.put("a.test", "A", "10.0.0.1")
    registry = opened(NAME)
    lists = registry.lists(SERVICE)
    await until(lists, {"10.0.0.1:5001"})
    server.put(SRV, "SRV", "0 7 5001 a.test.")
    assert await until(lists, {"10.0.0.1:5001"}) == (at("10.0.0.1:5001", weight=7),)
    server.put("a.test", "A", "10.0.0.1", "10.0.0.2")
    await until(lists, {"10.0.0.1:5001", "10.0.0.2:5001"})
    server.put(SRV, "SRV", "0 7 5009 b.test.")
    server.put("b.test", "A", "10.0.0.3")
    await until(lists, {"10.0.0.3:5009"})
    assert not registry.events
    assert registry.problem is None


async def test_one_task_looks_up_for_all(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.1")
    registry = opened(f"{NAME}:1?x.Y={NAME}:2", "min_ttl=30")
    before = asyncio.all_tasks()
    watches = [registry.watch(name) for name in ("x.Y", "x.Z", "x.Z")]
    async with asyncio.timeout(LIMIT):
        for watch in watches:
            await anext(watch)
        assert [t.get_name() for t in asyncio.all_tasks() - before] == [f"seawall dns {NAME}"]
        for watch in watches:
            await watch.aclose()
        assert asyncio.all_tasks() == before, "nobody watches"
        await first(registry)
    assert server.asked[NAME, "A"] == 1, "what was found 30 s ago at most is still good"


async def test_a_watch_that_begins_later_looks_up_what_is_old(
    server: DnsServer, opened: Opened
) -> None:
    server.put(NAME, "A", "10.0.0.1")
    registry = opened()
    watch = registry.watch(SERVICE)
    async with asyncio.timeout(LIMIT):
        await anext(watch)
        await watch.aclose()
    server.put(NAME, "A", "10.0.0.2")
    (follower,) = registry._followers.values()
    follower._due = 0.0
    assert addresses(await first(registry)) == ["10.0.0.2:50051"]


@pytest.mark.parametrize(
    ("ttl", "options", "least"),
    [(0, "min_ttl=0.3", 0.3), (1, "min_ttl=0.01", 1.0), (3600, "max_ttl=0.2", 0.2)],
)
async def test_the_time_between_two_look_ups(
    ttl: int, options: str, least: float, server: DnsServer, opened: Opened
) -> None:
    server.put(NAME, "A", "10.0.0.1")
    server.ttl = ttl
    registry = opened(options=options)
    loop = asyncio.get_running_loop()
    lists = registry.lists(SERVICE)
    await until(lists, {"10.0.0.1:50051"})
    waiting = asyncio.ensure_future(anext(lists))
    await server.queried(NAME, "A")
    begun = loop.time()
    await server.queried(NAME, "A")
    assert loop.time() - begun >= least * 0.99
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_registering_changes_nothing(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.1")
    registry = opened()
    registration = await registry.register([Instance(SERVICE, "b", "b:2")])
    await registration.update([Instance(SERVICE, "c", "c:3")])
    assert addresses(await first(registry)) == ["10.0.0.1:50051"]
    await registration.close()
    await registry.close()
    with pytest.raises(RegistryError, match="is closed"):
        await registry.register([])
    assert [update async for update in registry.watch(SERVICE)] == []


async def test_calls_go_where_the_dns_says(start: Start, server: DnsServer) -> None:
    service = await start()
    host, _, port = service.address.rpartition(":")
    server.put("_grpc._tcp.echo.test", "SRV", f"0 5 {port} a.test.")
    server.put("a.test", "A", host)
    async with seawall.connect(f"dns://echo.test?resolver={server.address}") as fleet:
        async with asyncio.timeout(LIMIT):
            stub = pb_grpc.EchoStub(fleet)
            reply = await stub.Say(pb.EchoRequest(text="hello"), wait_for_ready=True)
    assert (reply.text, reply.instance) == ("hello", service.address)


@asynccontextmanager
async def opened_for(url: str) -> AsyncIterator[DnsRegistry]:
    registry = DnsRegistry(url)
    try:
        yield registry
    finally:
        await registry.close()


def system_asks(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, directory: Path, resolv_conf: str
) -> None:
    """Make ``server`` the machine's own, and the hosts file one of the test's."""
    host, _, port = server.address.rpartition(":")
    (directory / "resolv.conf").write_text(f"nameserver {host}\n{resolv_conf}")
    monkeypatch.setattr(lookup, "RESOLV_CONF", directory / "resolv.conf")
    monkeypatch.setattr(lookup, "PORT", int(port))
    monkeypatch.setattr(system, "HOSTS", directory / "hosts")
