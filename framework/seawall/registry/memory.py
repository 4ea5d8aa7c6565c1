"""``memory://name``: a registry inside one process, for tests and for services that share it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Final
from urllib.parse import unquote

from seawall.call import Instance, Update
from seawall.errors import ConfigError, RegistryError
from seawall.events import Listener, ignore
from seawall.registry.base import Registration, Registry
from seawall.registry.board import Board


class _Room:
    """What all registries of one name share; it goes when the last of them goes."""

    def __init__(self) -> None:
        self.board = Board()
        self.keys = (f"{number:012d}" for number in count())
        self.loop: asyncio.AbstractEventLoop | None = None


_rooms: Final[weakref.WeakValueDictionary[str, _Room]] = weakref.WeakValueDictionary()


class MemoryRegistry(Registry):
    """Registries of the same name see each other, within one process and one event loop.

    The name may be empty. What was registered goes with the last registry object of that name,
    so a test that forgot to close one does not disturb the next. Raises ``ConfigError`` if the
    URL has more than a name.
    """

    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self.url = url
        self.listener = listener
        self._name = _parse(url)
        self._shared = _rooms.setdefault(self._name, _Room())
        self._registrations: set[_MemoryRegistration] = set()
        self._closed = False

    async def register(self, instances: Sequence[Instance]) -> Registration:
        if self._closed:
            raise RegistryError(f"{self.url} is closed")
        registration = _MemoryRegistration(self._room(), self._registrations)
        await registration.update(instances)
        return registration

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        if self._closed:
            return
        async with aclosing(self._room().board.watch(service, self)) as listings:
            async for listing in listings:
                yield listing

    async def close(self) -> None:
        self._closed = True
        for registration in tuple(self._registrations):
            await registration.close()
        self._shared.board.end(self)

    def _room(self) -> _Room:
        """What is shared, once it is sure that no other event loop is using it."""
        loop = asyncio.get_running_loop()
        before = self._shared.loop
        if before is not None and before is not loop and before.is_closed():
            self._shared.board = Board()
        elif before not in (None, loop):
            raise RegistryError(
                f"{self.url} is in use by another event loop of this process: a memory:// "
                "registry serves one loop. Give each loop a name of its own, or use local://"
            )
        self._shared.loop = loop
        return self._shared


class _MemoryRegistration(Registration):
    def __init__(self, room: _Room, siblings: set[_MemoryRegistration]) -> None:
        self._room = room
        self._key = next(room.keys)
        self._siblings = siblings
        siblings.add(self)

    async def update(self, instances: Sequence[Instance]) -> None:
        if self not in self._siblings:
            raise RegistryError("this registration is closed")
        self._room.board.put(self._key, instances)

    async def close(self) -> None:
        self._siblings.discard(self)
        self._room.board.remove(self._key)


def _parse(url: str) -> str:
    name = url.partition("://")[2].rstrip("/")
    if any(character in name for character in "/?#"):
        raise ConfigError("registry", f"{url!r}: memory:// takes a name and nothing else")
    return unquote(name)
