"""A registry that says what a test tells it to, from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from seawall.call import Instance, Listing, Update
from seawall.registry import Registry

SERVICE = "seawall.tests.Echo"


class Listed(Registry):
    """One watch of one service, on whichever event loop asks for it."""

    url = "listed://"
    ttl = 60.0

    def __init__(self, *instances: Instance) -> None:
        self._first = Listing(instances)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._updates: asyncio.Queue[Update] = asyncio.Queue()

    def say(self, update: Update) -> None:
        assert self._loop is not None, "nobody watches yet"
        self._loop.call_soon_threadsafe(self._updates.put_nowait, update)

    async def register(self, instances: Sequence[Instance]) -> Any:
        raise AssertionError("not asked")

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        self._loop = asyncio.get_running_loop()
        yield self._first
        while True:
            yield await self._updates.get()

    async def close(self) -> None:
        """Nothing is held."""
