"""Watches begin, end, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from seawall.call import Instance
from seawall.testing.registry.harness import Harness
from seawall.testing.registry.tools import LIMIT, no_more_tasks_than


class WatchConformance(Harness):
    """What also holds for a registry in which nothing can be announced."""

    async def test_nobody_serves_an_unknown_service(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            async with asyncio.timeout(LIMIT):
                assert await anext(watcher.lists(service)) == ()

    async def test_a_cancelled_watch_leaves_no_task(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            await self.until(watcher.lists(service))  # what is shared by all has been started
            before = asyncio.all_tasks()
            lists = watcher.lists(service)
            await self.until(lists)
            waiting = asyncio.ensure_future(anext(lists))
            await asyncio.sleep(0)
            waiting.cancel()
            await no_more_tasks_than(before)
            assert waiting.cancelled()

    async def test_close_ends_the_watches(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            lists = watcher.lists(service)
            await self.until(lists)
            waiting = asyncio.ensure_future(anext(lists))
            await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT):
                await watcher.close()
                with pytest.raises(StopAsyncIteration):
                    await waiting

    async def test_close_leaves_no_task(self, registry_url: str, service: str) -> None:
        before = asyncio.all_tasks()
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            lists = watcher.lists(service)
            async with asyncio.timeout(LIMIT):
                await anext(lists)
                await watcher.close()
                await watcher.close()
        await no_more_tasks_than(before)
