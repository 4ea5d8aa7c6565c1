"""A registry of somebody else's: three methods on top of a dict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from seawall.call import Instance, Listing, Update
from seawall.events import Listener, ignore
from seawall.registry import Registration, Registry

announced: dict[DictRegistration, Sequence[Instance]] = {}
wakes: dict[asyncio.Event, DictRegistry] = {}


class DictRegistry(Registry):
    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self.url = url
        self.listener = listener
        self.closed = False

    async def register(self, instances: Sequence[Instance]) -> Registration:
        registration = DictRegistration(self)
        await registration.update(instances)
        return registration

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        wake, told = asyncio.Event(), None
        wakes[wake] = self
        try:
            while not self.closed:
                wake.clear()
                every = [one for owned in announced.values() for one in owned]
                now = Listing(tuple(one for one in every if one.service == service))
                if now == told:
                    await wake.wait()
                else:
                    told = now
                    yield now
        finally:
            del wakes[wake]

    async def close(self) -> None:
        self.closed = True
        for registration in [one for one in announced if one.owner is self]:
            await registration.close()
        wake_all()


class DictRegistration(Registration):
    def __init__(self, owner: DictRegistry) -> None:
        self.owner = owner

    async def update(self, instances: Sequence[Instance]) -> None:
        announced[self] = tuple(instances)
        wake_all()

    async def close(self) -> None:
        announced.pop(self, None)
        wake_all()


def wake_all() -> None:
    for wake in wakes:
        wake.set()
