"""What the tests of ``dns://`` share. Import the fixtures into the test module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from seawall.call import Instance
from seawall.registry.dns import DnsRegistry, inquiry, lookup
from seawall.testing.registry import LIMIT, Instances, no_more_tasks_than
from tests.heard import Heard
from tests.registry.dns_server import DnsServer

SERVICE = "shop.v1.Inventory"
NAME = "inventory.test"
SRV = f"_grpc._tcp.{NAME}"
BRISK = "min_ttl=0.05&max_ttl=0.1"

Opened = Callable[..., "Told"]


class Told(Heard, DnsRegistry):
    """A registry that keeps what it tells."""

    def __init__(self, url: str) -> None:
        Heard.__init__(self)
        DnsRegistry.__init__(self, url, self)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A DNS server of the test's own."""
    async with DnsServer() as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What isn't answered is given up soon; a busy machine may well make that happen."""
    monkeypatch.setattr(lookup, "PER_SERVER", 0.2)
    monkeypatch.setattr(inquiry, "PER_QUESTION", 0.4)


@pytest_asyncio.fixture
async def opened(server: DnsServer) -> AsyncIterator[Opened]:
    """Opens registries that ask ``server``; closed at the end, and must leave no task behind."""
    before = asyncio.all_tasks()
    registries: list[Told] = []

    def open_(names: str = f"{NAME}:50051", options: str = BRISK) -> Told:
        mark = "&" if "?" in names else "?"
        registries.append(Told(f"dns://{names}{mark}resolver={server.address}&{options}"))
        return registries[-1]

    yield open_
    async with asyncio.timeout(LIMIT):
        for registry in registries:
            await registry.close()
    # pytest-asyncio runs a fixture's end in a task of its own
    await no_more_tasks_than(before | {asyncio.current_task()})  # type: ignore[operator]


async def first(registry: DnsRegistry, service: str = SERVICE) -> Instances:
    async with asyncio.timeout(LIMIT):
        return await anext(registry.lists(service))


def addresses(instances: Instances) -> list[str]:
    return [one.address for one in instances]


def at(address: str, service: str = SERVICE, **facts: float) -> Instance:
    return Instance(service, address, address, facts)
