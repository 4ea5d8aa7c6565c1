"""``dns://`` when servers are dead, frozen or ailing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from math import inf

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from seawall.events import RegistryLost, RegistryRegained
from seawall.registry.dns import DnsRegistry, lookup
from seawall.registry.dns.follow import Follower
from seawall.registry.dns.health import Health
from seawall.registry.dns.inquiry import Inquiry, Look
from seawall.registry.dns.lookup import Resolver
from seawall.testing.registry import LIMIT, no_more_tasks_than, until
from tests.registry.dns_fixtures import (
    NAME,
    SERVICE,
    SRV,
    Opened,
    addresses,
    first,
    hasty,
    opened,
    server,
)
from tests.registry.dns_server import DnsServer, Manner, says, silent

__all__ = ["hasty", "opened", "server"]

ADDRESS = "10.0.0.1:50051"


def noise(query: dns.message.Message) -> bytes:
    return b"\x00\x01\xff" * 40


def noise_under_our_id(query: dns.message.Message) -> bytes:
    return query.to_wire()[:12] + b"\xc0\x0c" * 50


def another_question(query: dns.message.Message) -> dns.message.Message:
    return dns.message.make_response(dns.message.make_query("evil.test", "A"))


def alias_loop(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    name = query.question[0].name
    for one, other in ((name, "b.test."), ("b.test.", name.to_text())):
        response.answer.append(dns.rrset.from_text(one, 60, "IN", "CNAME", other))
    return response


def always_truncated(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response


OUTAGES = [
    pytest.param(silent, id="silent"),
    pytest.param(noise, id="noise"),
    pytest.param(noise_under_our_id, id="noise under our id"),
    pytest.param(another_question, id="another question"),
    pytest.param(alias_loop, id="alias loop"),
    pytest.param(always_truncated, id="always truncated"),
    *(pytest.param(says(code), id=code.name) for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)),
]


@pytest.mark.parametrize("manner", OUTAGES)
@pytest.mark.parametrize("name", [f"{NAME}:50051", NAME])
async def test_an_outage_keeps_the_list_and_is_told_once(
    manner: Manner, name: str, server: DnsServer, opened: Opened, hasty: None
) -> None:
    server.put(SRV, "SRV", "0 1 50051 a.test.")
    for host in ("a.test", NAME):
        server.put(host, "A", "10.0.0.1")
    registry = opened(name)
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS})
    waiting = asyncio.ensure_future(anext(lists))

    server.manner = manner
    lost = await registry.told(RegistryLost)
    assert f"the DNS server {server.address} does not answer for" in lost.problem
    assert registry.problem == lost.problem
    kind = "A" if name.endswith(":50051") else "SRV"
    await server.queried(name.partition(":")[0] if kind == "A" else SRV, kind, 3)
    assert not waiting.done(), "the list changed"

    server.manner = None
    assert (await registry.told(RegistryRegained)).outage > 0
    for host in ("a.test", NAME):
        server.put(host, "A", "10.0.0.2")
    async with asyncio.timeout(LIMIT):
        assert addresses(await waiting) == ["10.0.0.2:50051"]
    assert registry.problem is None
    assert [type(event) for event in registry.events] == [RegistryLost, RegistryRegained]


async def test_a_server_that_is_restarted(server: DnsServer, opened: Opened, hasty: None) -> None:
    server.put(NAME, "A", "10.0.0.1")
    registry = opened()
    lists = registry.lists(SERVICE)
    await until(lists, {ADDRESS})
    waiting = asyncio.ensure_future(anext(lists))
    await server.stop()
    await registry.told(RegistryLost)
    server.put(NAME, "A", "10.0.0.2")
    await server.start()
    await registry.told(RegistryRegained)
    async with asyncio.timeout(LIMIT):
        assert addresses(await waiting) == ["10.0.0.2:50051"]


async def test_a_client_that_starts_in_an_outage_waits(server: DnsServer, opened: Opened) -> None:
    server.put(NAME, "A", "10.0.0.1")
    server.manner = says(dns.rcode.SERVFAIL)
    registry = opened()
    waiting = asyncio.ensure_future(first(registry))
    await registry.told(RegistryLost)
    await server.queried(NAME, "A", 2)
    assert not waiting.done()
    server.manner = None
    assert addresses(await waiting) == [ADDRESS]


async def test_close_in_the_middle_of_a_question(server: DnsServer, opened: Opened) -> None:
    server.manner = silent
    before = asyncio.all_tasks()
    registry = opened()
    waiting = asyncio.ensure_future(anext(registry.watch(SERVICE)))
    await server.queried(NAME, "A")
    async with asyncio.timeout(LIMIT):
        await registry.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
    await no_more_tasks_than(before)


async def test_a_watch_that_is_cancelled_in_a_question(server: DnsServer, opened: Opened) -> None:
    server.manner = silent
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(anext(opened(NAME).watch(SERVICE)))
    await server.queried(SRV, "SRV")
    waiting.cancel()
    await no_more_tasks_than(before)
    assert waiting.cancelled()


async def test_a_cancellation_that_the_library_loses_is_repeated() -> None:
    before = asyncio.all_tasks()

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    asking = asyncio.create_task(lookup._ended(stubborn(), inf))
    await asyncio.sleep(0)
    asking.cancel()
    await no_more_tasks_than(before)
    assert asking.cancelled()


async def test_a_question_has_a_limit_of_its_own() -> None:
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await lookup._ended(asyncio.Event().wait(), 0.01)
    assert asyncio.all_tasks() == before


# How often


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(1.0, [1, 2, 4, 8, 16, 32, 60, 60]), (0.0, [0.5, 1, 2, 4, 8, 16, 30, 30])],
)
def test_the_back_off(chance: float, expected: list[float]) -> None:
    pause = pauses(chance)
    assert [pause(look(failed=True, away=True)) for _ in expected] == expected
    pause(look())
    assert pause(look(failed=True, away=True)) == expected[0]


def test_the_pause_after_an_answer() -> None:
    pause = pauses(0.0)
    assert [pause(look(ttl=ttl)) for ttl in (0, 5, 30, 3600, inf)] == [5, 5, 30, 60, 60]
    assert pause(look(ttl=30, doubted=True)) == 5
    assert pauses(1.0)(look(ttl=30)) == pytest.approx(33), "never before the TTL has passed"


def test_a_failure_in_part_is_repeated_no_sooner_than_an_answer() -> None:
    pause = pauses(1.0)
    partial = [pause(look(ttl=20, failed=True)) for _ in range(8)]
    assert partial == [5, 5, 5, 8, 16, 22, 22, 22]


def look(
    *, ttl: float = 30, failed: bool = False, away: bool = False, doubted: bool = False
) -> Look:
    return Look((), ttl, failed, away, doubted, None, ())


def pauses(chance: float) -> Callable[[Look], float]:
    def refuse(name: str, problem: str) -> None:
        raise AssertionError(problem)

    resolver = Resolver([("127.0.0.1", 9)])
    follower = Follower(
        NAME,
        Inquiry(NAME, False, resolver),
        Health(DnsRegistry("dns://a:1")),
        (5, 60),
        refuse,
        lambda: chance,
    )
    return follower._pause
