"""What is announced is seen, as it is and for as long as it is."""

from __future__ import annotations

import asyncio

from seawall.call import JSON, Instance
from seawall.testing.registry.harness import Harness
from seawall.testing.registry.tools import LIMIT, Instances


class AnnouncingConformance(Harness):
    """Register, update, goodbye, many."""

    async def test_registered_is_seen(self, registry_url: str, service: str) -> None:
        facts: dict[str, JSON] = {
            "version": "1.2",
            "weight": 2.5,
            "labels": {"rack": "é", "ports": [1, 2]},
        }
        a = Instance(service, "a", "127.0.0.1:1001", facts)
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            await self.announce(owner, a)
            await self.until(lists, a)

    async def test_the_owner_sees_himself(self, registry_url: str, service: str) -> None:
        a = Instance(service, "a", "127.0.0.1:1001")
        async with self.pair(registry_url) as (owner, _):
            await self.announce(owner, a)
            await self.until(owner.lists(service), a)

    async def test_a_later_watch_has_the_list_at_once(
        self, registry_url: str, service: str
    ) -> None:
        a = Instance(service, "a", "127.0.0.1:1001")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, a)
            for _ in range(2):
                async with asyncio.timeout(LIMIT):
                    first = await anext(watcher.lists(service))
                assert first == self.listed(a)

    async def test_several_services_of_one_process(self, registry_url: str, service: str) -> None:
        one = Instance(service, "a", "127.0.0.1:1001")
        other = Instance(f"{service}Other", "a", "127.0.0.1:1001")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, one, other)
            await self.until(watcher.lists(one.service), one)
            await self.until(watcher.lists(other.service), other)

    async def test_a_list_comes_only_when_it_changed(self, registry_url: str, service: str) -> None:
        a = Instance(service, "a", "127.0.0.1:1001")
        b = Instance(service, "b", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            await self.announce(owner, Instance(f"{service}Other", "x", "127.0.0.1:1009"))
            registration = await self.announce(owner, a)
            await registration.update([a])
            await self.announce(owner, b)
            passed: list[Instances] = []
            await self.until(lists, a, b, passed=passed)
            assert len(passed) <= 1, "only the list with 'a' alone may come in between"

    async def test_update_leaves_no_gap(self, registry_url: str, service: str) -> None:
        passed: list[Instances] = []
        first = Instance(service, "a", "127.0.0.1:1001")
        a = Instance(service, "a", "127.0.0.1:1030")
        b = Instance(service, "b", "127.0.0.1:1031")
        async with self.pair(registry_url) as (owner, watcher):
            registration = await self.announce(owner, first)
            lists = watcher.lists(service)
            await self.until(lists, first)
            for port in range(1002, 1022):
                await registration.update([Instance(service, "a", f"127.0.0.1:{port}")])
            await registration.update([a, b])
            await self.until(lists, a, b, passed=passed)
            await registration.update([b])
            await self.until(lists, b, passed=passed)
        assert all(passed), "a list was empty in between"

    async def test_goodbye(self, registry_url: str, service: str) -> None:
        stays = Instance(service, "stays", "127.0.0.1:1001")
        goes = Instance(service, "goes", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            staying = await self.announce(owner, stays)
            going = await self.announce(owner, goes)
            lists = watcher.lists(service)
            await self.until(lists, stays, goes)
            await going.close()
            await self.until(lists, stays)
            await going.close()
            await staying.close()
            await self.until(lists)

    async def test_close_says_goodbye(self, registry_url: str, service: str) -> None:
        a = Instance(service, "a", "127.0.0.1:1001")
        b = Instance(service, "b", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, a)
            await self.announce(owner, b)
            lists = watcher.lists(service)
            await self.until(lists, a, b)
            await owner.close()
            await self.until(lists)

    async def test_many(self, registry_url: str, service: str) -> None:
        every = [Instance(service, f"i{n:03}", f"10.0.0.1:1{n:03}") for n in range(200)]
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            await self.announce(owner, *every)
            await self.until(lists, *every)
            await self.until(watcher.lists(service), *every)

    async def test_many_registrations_at_the_same_time(
        self, registry_url: str, service: str
    ) -> None:
        every = [Instance(service, f"i{n:02}", f"127.0.0.1:10{n:02}") for n in range(20)]
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            announcing = (self.announce(owner, one) for one in every)
            registrations = await asyncio.gather(*announcing)
            await self.until(lists, *every)
            await asyncio.gather(*(registration.close() for registration in registrations))
            await self.until(lists)
