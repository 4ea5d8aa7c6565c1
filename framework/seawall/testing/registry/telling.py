"""Updates add up, say who left and who was lost, and don't pile up."""

from __future__ import annotations

from seawall.call import Change, Instance
from seawall.testing.registry.harness import Harness


class TellingConformance(Harness):
    """What ``watch`` yields."""

    async def test_new_facts_are_told(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (owner, watcher):
            registration = await self.announce(owner, weighing(service, 1))
            async with self.following(watcher, service) as following:
                await following.until(self.listed(weighing(service, 1)))
                await registration.update([weighing(service, 7)])
                told = await following.until(self.listed(weighing(service, 7)))
                assert told, "the facts changed without a word"

    async def test_watch_and_lists_agree(self, registry_url: str, service: str) -> None:
        a, heavier = weighing(service, 1), weighing(service, 7)
        b = Instance(service, "b", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            async with self.following(watcher, service) as following:
                await self.until(lists)
                await following.until(())
                staying = await self.announce(owner, a)
                going = await self.announce(owner, b)
                for change, listed in (
                    (None, (a, b)),
                    (staying.update([heavier]), (heavier, b)),
                    (going.close(), (heavier,)),
                    (staying.close(), ()),
                ):
                    if change is not None:
                        await change
                    await self.until(lists, *listed)
                    await following.until(self.listed(*listed))

    async def test_a_goodbye_is_not_told_as_a_loss(self, registry_url: str, service: str) -> None:
        stays = Instance(service, "stays", "127.0.0.1:1001")
        goes = Instance(service, "goes", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, stays)
            going = await self.announce(owner, goes)
            async with self.following(watcher, service) as following:
                await following.until(self.listed(stays, goes))
                await going.close()
                for update in await following.until(self.listed(stays)):
                    assert not isinstance(update, Change) or not update.lost

    async def test_a_crash_is_not_told_as_a_goodbye(self, registry_url: str, service: str) -> None:
        stays = Instance(service, "stays", "127.0.0.1:1001")
        dies = Instance(service, "dies", "127.0.0.1:1002")
        async with self.pair(registry_url) as (owner, watcher):
            await self.announce(owner, stays)
            async with (
                self.following(watcher, service) as following,
                self.living(registry_url, dies) as kill,
            ):
                await following.until(self.listed(stays, dies))
                kill()
                for update in await following.until(self.listed(stays)):
                    assert not isinstance(update, Change) or not update.left

    async def test_a_slow_reader_gets_several_changes_as_one(
        self, registry_url: str, service: str
    ) -> None:
        changes = 20
        async with self.pair(registry_url) as (owner, watcher):
            registration = await self.announce(owner, weighing(service, 1))
            async with self.following(watcher, service) as slow:
                await slow.until(self.listed(weighing(service, 1)))
                lists = watcher.lists(service)
                for weight in range(2, 2 + changes):
                    await registration.update([weighing(service, weight)])
                    await self.until(lists, weighing(service, weight))
                told = await slow.until(self.listed(weighing(service, 1 + changes)))
                assert len(told) < changes


def weighing(service: str, weight: int) -> Instance:
    """The same instance with another fact."""
    return Instance(service, "a", "127.0.0.1:1001", {"weight": weight})
