"""What goes wrong: owners that die and come back, a registry that does, entries of nonsense."""

from __future__ import annotations

import asyncio

from seawall.call import Instance
from seawall.events import Event, MalformedEntry
from seawall.testing.registry.harness import Harness
from seawall.testing.registry.tools import Instances


class FaultConformance(Harness):
    """Malformed, crash, restart."""

    async def test_what_cannot_be_read_is_skipped_and_told_once(
        self, registry_url: str, service: str
    ) -> None:
        events: list[Event] = []
        a = Instance(service, "a", "127.0.0.1:1001")
        async with self.pair(registry_url, events.append) as (owner, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            await self.spoil(registry_url, service)
            await self.announce(owner, a)
            await self.until(lists, a)
            await self.until(watcher.lists(service), a)
        assert len([event for event in events if isinstance(event, MalformedEntry)]) == 1

    async def test_a_killed_owner_is_gone(self, registry_url: str, service: str) -> None:
        stays = Instance(service, "stays", "127.0.0.1:1001")
        dies = Instance(service, "dies", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, stays)
            lists = watcher.lists(service)
            await self.until(lists, stays)
            async with self.living(registry_url, dies) as kill:
                await self.until(lists, stays, dies)
                kill()
                async with asyncio.timeout(self.crash_limit):
                    await self.until(lists, stays)

    async def test_a_killed_owner_comes_back_under_a_new_id(
        self, registry_url: str, service: str
    ) -> None:
        old = Instance(service, "old", "127.0.0.1:1001")
        new = Instance(service, "new", "127.0.0.1:1001")
        # If addresses are ids, the list is the same as before: this one tells when it is new.
        also = Instance(service, "also", "127.0.0.1:1002")
        async with self.pair(registry_url) as (_, watcher):
            lists = watcher.lists(service)
            async with self.living(registry_url, old) as kill:
                await self.until(lists, old)
                kill()
                async with self.living(registry_url, new, also):
                    async with asyncio.timeout(self.crash_limit):
                        await self.until(lists, new, also)

    async def test_a_killed_owner_comes_back_under_the_same_id(
        self, registry_url: str, service: str
    ) -> None:
        old = Instance(service, "same", "127.0.0.1:1001")
        new = Instance(service, "same", "127.0.0.1:1002")
        # It goes when the dead owner's time has run out, which must not take the new one along.
        also = Instance(service, "also", "127.0.0.1:1003")
        async with self.pair(registry_url) as (_, watcher):
            lists = watcher.lists(service)
            async with self.living(registry_url, old, also) as kill:
                await self.until(lists, old, also)
                kill()
                async with self.living(registry_url, new):
                    async with asyncio.timeout(self.crash_limit):
                        await self.until(lists, new)
                    await self.until(watcher.lists(service), new)

    async def test_a_restart_of_the_registry_empties_no_list(
        self, registry_url: str, service: str
    ) -> None:
        a = Instance(service, "a", "127.0.0.1:1001")
        b = Instance(service, "b", "127.0.0.1:1002")
        passed: list[Instances] = []
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, a)
            lists = watcher.lists(service)
            await self.until(lists, a)
            await self.restart(registry_url)
            await self.announce(owner, b)
            await self.until(lists, a, b, passed=passed)
            await self.until(watcher.lists(service), a, b)
        assert all(passed), "a list was empty in between"
