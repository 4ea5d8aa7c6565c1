"""What is known now of who serves what, and the watches that wait for it to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from seawall.call import Instance, Listing

Instances = tuple[Instance, ...]


@dataclass(eq=False, slots=True)
class _Watch:
    owner: object
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False


class Board:
    """Instances by the entry that announced them, indexed by service.

    An entry is what one registration announced, under a key. Keys sort by age: of two entries
    that hold the same instance id, the younger one counts. A change wakes only the watches of
    the services that it touches. Used on one event loop.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Instances] = {}
        self._services: dict[str, dict[str, Instances]] = {}
        self._watches: dict[str, set[_Watch]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    @property
    def keys(self) -> Iterable[str]:
        """The keys of all entries."""
        return self._entries.keys()

    def put(self, key: str, instances: Iterable[Instance]) -> None:
        """Set what the entry ``key`` announces, in place of what it announced before."""
        grouped: dict[str, list[Instance]] = {}
        for instance in instances:
            grouped.setdefault(instance.service, []).append(instance)
        for service in {i.service for i in self._entries.get(key, ())} - grouped.keys():
            self._unshelve(service, key)
        for service, members in grouped.items():
            self._services.setdefault(service, {})[key] = tuple(members)
            self._wake(service)
        self._entries[key] = tuple(i for members in grouped.values() for i in members)

    def remove(self, key: str) -> None:
        """Forget the entry ``key``, if there is one."""
        for service in {i.service for i in self._entries.pop(key, ())}:
            self._unshelve(service, key)

    def instances(self, service: str) -> Instances:
        """All instances of ``service``, in the order of their ids."""
        shelf = self._services.get(service, {})
        by_id = {one.id: one for key in sorted(shelf) for one in shelf[key]}
        return tuple(by_id[id_] for id_ in sorted(by_id))

    async def watch(self, service: str, owner: object) -> AsyncGenerator[Listing, None]:
        """Yield the instances of ``service`` now and after each change, until ``end(owner)``."""
        watch = _Watch(owner)
        self._watches.setdefault(service, set()).add(watch)
        told: Instances | None = None
        try:
            while not watch.ended:
                watch.wake.clear()
                now = self.instances(service)
                if now == told:
                    await watch.wake.wait()
                else:
                    told = now
                    yield Listing(now)
        finally:
            self._watches[service].discard(watch)
            if not self._watches[service]:
                del self._watches[service]

    def end(self, owner: object) -> None:
        """End the watches of ``owner``."""
        for watches in self._watches.values():
            for watch in watches:
                if watch.owner is owner:
                    watch.ended = True
                    watch.wake.set()

    def _unshelve(self, service: str, key: str) -> None:
        shelf = self._services[service]
        del shelf[key]
        if not shelf:
            del self._services[service]
        self._wake(service)

    def _wake(self, service: str) -> None:
        for watch in self._watches.get(service, ()):
            watch.wake.set()
