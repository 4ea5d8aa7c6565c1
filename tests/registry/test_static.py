"""Fixed addresses."""

from __future__ import annotations

import asyncio

import pytest

from seawall.call import Instance
from seawall.errors import ConfigError
from seawall.registry import open_registry
from seawall.registry.addresses import address_problem


async def addresses(url: str, service: str) -> list[str]:
    registry = open_registry(url)
    async with asyncio.timeout(5):
        found = await anext(registry.lists(service))
    await registry.close()
    assert all(one.service == service for one in found)
    return [one.address for one in found]


@pytest.mark.parametrize(
    ("url", "service", "expected"),
    [
        ("static://a:1,b:2", "x.Y", ["a:1", "b:2"]),
        ("static://?x.Y=a:1,b:2&x.Z=c:3", "x.Y", ["a:1", "b:2"]),
        ("static://?x.Y=a:1,b:2&x.Z=c:3", "x.Z", ["c:3"]),
        ("static://?x.Y=a:1", "x.Other", []),
        ("static://a:1?x.Z=c:3", "x.Y", ["a:1"]),
        ("static://a:1?x.Z=c:3", "x.Z", ["c:3"]),
        ("static://[::1]:80", "x.Y", ["[::1]:80"]),
        ("static://unix:/run/a.sock,b:2", "x.Y", ["b:2", "unix:/run/a.sock"]),
        ("static://?x.Y=unix:///run/a.sock", "x.Y", ["unix:///run/a.sock"]),
        ("static://unix:/run/a%2Cb%3F", "x.Y", ["unix:/run/a,b?"]),
    ],
)
async def test_addresses(url: str, service: str, expected: list[str]) -> None:
    assert await addresses(url, service) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("static://", "names no address"),
        ("static://?", "'' is not package.Service=host:port"),
        ("static://a:1,", "address '' is not host:port"),
        ("static://a", "address 'a' is not host:port"),
        ("static://:80", "address ':80' is not host:port"),
        ("static://a:http", "no port from 1 to 65535 after its last colon, but 'http'"),
        ("static://a:0", "but '0'"),
        ("static://a:65536", "but '65536'"),
        ("static://::1:80", "needs brackets round its IPv6 address: [::1]:80"),
        ("static://[zz]:80", "no IPv6 address in its brackets, but 'zz'"),
        ("static://a b:80", "no host name before its port, but 'a b'"),
        ("static://unix:", "names no path"),
        ("static://a:1,b:2,a:1", "address 'a:1' is there twice"),
        ("static://?x.Y=a:1&x.Y=b:2", "'x.Y' is there twice"),
        ("static://?x.Y=a:1,a:1", "address 'a:1' is there twice"),
        ("static://?x.Y", "'x.Y' is not package.Service=host:port"),
        ("static://?x/Y=a:1", "'x/Y=a:1' is not package.Service=host:port"),
        ("static://?x.Y=", "address '' is not host:port"),
    ],
)
def test_a_malformed_part_is_named(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    assert said in str(caught.value)
    assert repr(url) in str(caught.value)


async def test_registering_changes_nothing() -> None:
    registry = open_registry("static://a:1")
    registration = await registry.register([Instance("x.Y", "b", "b:2")])
    await registration.update([Instance("x.Y", "c", "c:3")])
    lists = registry.lists("x.Y")
    async with asyncio.timeout(5):
        assert [one.address for one in await anext(lists)] == ["a:1"]
        await registration.close()
        await registry.close()
        with pytest.raises(StopAsyncIteration):
            await anext(lists)


@pytest.mark.parametrize("address", ["a:1", "a-b.c_d:65535", "1.2.3.4:80", "[fe80::1]:1", "unix:x"])
def test_good_addresses(address: str) -> None:
    assert address_problem(address) is None
