"""``dns://`` when servers forget, answer in part, or say too much."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from seawall.events import Event, MalformedEntry
from seawall.registry.dns import inquiry
from seawall.registry.dns.inquiry import Belief
from seawall.registry.dns.lookup import Answer
from seawall.testing.registry import LIMIT, until
from tests.registry.dns_fixtures import (
    NAME,
    SERVICE,
    SRV,
    Opened,
    addresses,
    first,
    opened,
    server,
)
from tests.registry.dns_server import DnsServer, Manner, says

__all__ = ["opened", "server"]

ADDRESS = "10.0.0.1:50051"


def only(kind: str, server: DnsServer, otherwise: Manner) -> Manner:
    """The zone's answer to one kind of question; ``otherwise`` to the others."""

    def manner(query: dns.message.Message) -> dns.message.Message | bytes | None:
        asked = dns.rdatatype.to_text(query.question[0].rdtype)
        return server.answer(query) if asked == kind else otherwise(query)

    return manner


def without(name: str, server: DnsServer) -> Manner:
    """SERVFAIL for one name, and the zone's answer for the others."""

    def manner(query: dns.message.Message) -> dns.message.Message | bytes | None:
        asked = query.question[0].name.to_text(omit_final_dot=True)
        return says(dns.rcode.SERVFAIL)(query) if asked == name else server.answer(query)

    return manner


# Denied


async def test_a_name_that_is_not_there(server: DnsServer, opened: Opened) -> None:
    registry = opened()
    lists = registry.lists(SERVICE)
    assert await until(lists, set()) == ()
    assert f"{NAME} has no A or AAAA record" in (registry.problem or "")
    assert "NXDOMAIN): is the name right" in (registry.problem or "")
    server.put(NAME, "A", "10.0.0.1")
    await until(lists, {ADDRESS})
    assert registry.problem is None
    assert not registry.events, "it was no outage"


@pytest.mark.parametrize(
    ("name", "key"), [(f"{NAME}:50051", (NAME, "A")), (NAME, (SRV, "SRV")), (NAME, ("a.test", "A"))]
)
async def test_a_zone_that_is_lost_for_a_moment_empties_no_list(
    name: str, key: tuple[str, str], server: DnsServer, opened: Opened
) -> None:
    zone = {(NAME, "A"): "10.0.0.1", ("a.test", "A"): "10.0.0.1", (SRV, "SRV"): "0 1 50051 a.test."}
    for (host, kind), record in zone.items():
        server.put(host, kind, record)
    registry = opened(name)
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS})
    waiting = asyncio.ensure_future(anext(lists))
    server.put(*key)
    await server.queried(*key, 4)
    assert not waiting.done()
    assert "what it had stays in use until that has been said for 30 s" in (registry.problem or "")
    server.put(*key, zone[key])
    await server.queried(*key, 2)
    assert registry.problem is None
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_denial_that_lasts_is_believed(
    server: DnsServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiry, "DOUBT", 0.3)
    server.put(NAME, "A", "10.0.0.1")
    registry = opened()
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS})
    server.put(NAME, "A")
    await until(lists, set())
    assert "is the name right" in (registry.problem or "")


def test_what_is_believed() -> None:
    belief = Belief()
    nothing, something = Answer((), 5, denial="NXDOMAIN"), Answer(("10.0.0.1",), 5)
    belief.take(nothing, 0)
    assert (belief.records, belief.since) == ((), None)
    belief.take(something, 1)
    for now in (100, 115, 129.9):
        belief.take(nothing, now)
        assert (belief.records, belief.since) == (("10.0.0.1",), 100)
    belief.take(something, 129.95)
    for now in (200, 229):
        belief.take(nothing, now)
        assert belief.records, "the time starts again after each answer that has something"
    belief.take(nothing, 230)
    assert (belief.records, belief.since) == ((), None)


# In part


async def test_a_server_that_cannot_do_aaaa(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.1")
    server.manner = only("A", server, says(dns.rcode.SERVFAIL))
    registry = opened(options="min_ttl=0.05&max_ttl=0.1")
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS})
    await server.queried(NAME, "AAAA", 2)
    assert registry.problem is None
    server.put(NAME, "A", "10.0.0.2")
    await until(lists, {"10.0.0.2:50051"})
    assert not registry.events


async def test_half_an_answer_keeps_the_other_half(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.1")
    server.put(NAME, "AAAA", "fd00::1")
    registry = opened()
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS, "[fd00::1]:50051"})
    server.manner = only("A", server, says(dns.rcode.SERVFAIL))
    server.put(NAME, "A", "10.0.0.2")
    await until(lists, {"10.0.0.2:50051", "[fd00::1]:50051"})
    assert f"does not answer for {NAME} AAAA" in (registry.problem or "")
    assert not registry.events, "somebody answers"


async def test_an_srv_target_that_fails_is_left_out(server: DnsServer, opened: Opened) -> None:
    server.put(SRV, "SRV", "0 1 5001 a.test.", "0 1 5002 b.test.")
    server.put("a.test", "A", "10.0.0.1")
    server.put("b.test", "A", "10.0.0.2")
    server.manner = without("b.test", server)
    registry = opened(NAME)
    lists = registry.lists(SERVICE)
    await until(lists, {"10.0.0.1:5001"})
    assert "does not answer for b.test." in (registry.problem or "")
    server.manner = None
    await until(lists, {"10.0.0.1:5001", "10.0.0.2:5002"})
    assert registry.problem is None


async def test_nothing_is_said_before_something_is_known(server: DnsServer, opened: Opened) -> None:
    """A denies, AAAA fails: that is not yet an empty list."""
    server.manner = only("A", server, says(dns.rcode.SERVFAIL))
    registry = opened()
    waiting = asyncio.ensure_future(first(registry))
    await server.queried(NAME, "AAAA", 2)
    assert not waiting.done()
    server.manner = None
    assert await waiting == ()


# Too much, or nonsense


async def test_a_huge_answer_is_bounded_and_said(server: DnsServer, opened: Opened) -> None:
    every = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1200)]
    server.put(NAME, "A", *every)
    registry = opened()
    lists = registry.lists(SERVICE)
    async with asyncio.timeout(LIMIT):
        found = await anext(lists)
    assert len(found) == 1000
    assert server.over_tcp
    await server.queried(NAME, "A", 2)
    (told,) = registry.of(MalformedEntry)
    assert (told.key, told.problem) == (NAME, "has 1200 addresses; the first 1000 are used")
    waiting = asyncio.ensure_future(anext(lists))
    server.put(NAME, "A", *reversed(every))
    await server.queried(NAME, "A", 2)
    assert not waiting.done(), "another order of the records is no change"
    server.put(NAME, "A", *every, "10.0.0.0")
    async with asyncio.timeout(LIMIT):
        assert len({*await waiting} - {*found}) == 1


async def test_srv_without_a_port_is_told_once(server: DnsServer, opened: Opened) -> None:
    server.put(SRV, "SRV", "0 1 0 a.test.", "0 1 5001 b.test.")
    server.put("b.test", "A", "10.0.0.2")
    registry = opened(NAME)
    assert addresses(await first(registry)) == ["10.0.0.2:5001"]
    registry_lists = registry.lists(SERVICE)
    await until(registry_lists, {"10.0.0.2:5001"})
    await server.queried(SRV, "SRV", 2)
    (told,) = registry.of(MalformedEntry)
    assert told.problem == "its SRV record for a.test. has the port 0"


async def test_a_listener_that_fails_stops_nothing(server: DnsServer, opened: Opened) -> None:
    server.manner = says(dns.rcode.SERVFAIL)
    server.put(NAME, "A", "10.0.0.1")
    registry = opened()
    heard = asyncio.Event()

    def fail(event: Event) -> None:
        heard.set()
        raise ValueError("a listener of the user's own")

    registry.listener = fail
    waiting = asyncio.ensure_future(first(registry))
    async with asyncio.timeout(LIMIT):
        await heard.wait()
    server.manner = None
    assert addresses(await waiting) == [ADDRESS]
