"""A registry whose last good lists outlive the process that was given them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from seawall.call import Change, Instance, Listing, Update
from seawall.events import Event, Listener, SnapshotUsed
from seawall.registry.base import Registration, Registry
from seawall.registry.snapshots.keeper import Keeper
from seawall.registry.snapshots.store import Store

PATIENCE: Final = 0.3
"""Seconds that the registry has for its first list before the last good one is used in its place:
etcd takes 2 to 4 ms for it on loopback, connecting included, and some round trips more over TLS;
and of a call's deadline enough must be left to connect to an instance."""

_log = logging.getLogger(__name__)


class Remembering(Registry):
    """Another registry, with its last good lists kept in ``directory``.

    While that registry, ``inner``, gives no first list, a watch begins with the one that any
    process of this user on this machine saw last, if that is not more than a day ago; the true
    one replaces it as soon as there is one. ``inner`` must have an ``identity``. All else is as
    ``inner`` does it.
    """

    def __init__(self, inner: Registry, directory: Path) -> None:
        if inner.identity is None:
            raise ValueError(f"{inner.url} has no identity under which its lists could be kept")
        self.inner = inner
        self.url, self.ttl, self.identity = inner.url, inner.ttl, inner.identity
        self._store = Store(directory, inner.identity, partial(tell, inner))
        self._keepers: dict[str, Keeper] = {}
        self._told: set[str] = set()
        """Services whose snapshot is in use."""

    @property
    def problem(self) -> str | None:  # type: ignore[override]
        return self.inner.problem

    @property
    def listener(self) -> Listener:
        return self.inner.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self.inner.listener = listener

    async def register(self, instances: Sequence[Instance]) -> Registration:
        return await self.inner.register(instances)

    @property
    def keeps_configs(self) -> bool:  # type: ignore[override]
        return self.inner.keeps_configs

    def configs(self, service: str) -> AsyncGenerator[str | None, None]:
        return self.inner.configs(service)

    def holds_lease(self) -> bool | None:
        return self.inner.holds_lease()

    def advertised_host(self) -> str | None:
        return self.inner.advertised_host()

    async def close(self) -> None:
        try:
            await self.inner.close()
        finally:
            await asyncio.gather(*(keeper.close() for keeper in tuple(self._keepers.values())))

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        async with (
            self._keeper(service) as keeper,
            aclosing(self.inner.watch(service)) as updates,
        ):
            first = asyncio.create_task(_next(updates, keeper))
            try:
                remembered = await self._meanwhile(service, first)
                if remembered is not None:
                    yield remembered
                update = await first
            finally:
                await _end(first)
            self._told.discard(service)
            while update is not None:
                keeper.take(update)
                yield update if remembered is None else _compared(remembered, update)
                remembered = None
                update = await _next(updates, keeper)

    @asynccontextmanager
    async def _keeper(self, service: str) -> AsyncIterator[Keeper]:
        """What all watches of a service share, until the last of them ends."""
        keeper = self._keepers.get(service)
        if keeper is None:
            keeper = Keeper(service, self._store, lambda: self.inner.problem is None)
            self._keepers[service] = keeper
        keeper.watches += 1
        try:
            yield keeper
        finally:
            keeper.watches -= 1
            if not keeper.watches:
                del self._keepers[service]
                await keeper.close()

    async def _meanwhile(self, service: str, first: asyncio.Task[Update | None]) -> Listing | None:
        """The last good list, if the registry keeps us waiting for the true one."""
        await asyncio.wait([first], timeout=PATIENCE)
        if first.done():
            return None
        loading = asyncio.create_task(self._store.load(service))
        try:
            await asyncio.wait([first, loading], return_when=asyncio.FIRST_COMPLETED)
            if first.done() or (snapshot := loading.result()) is None:
                return None
        finally:
            await _end(loading)
        if service not in self._told:
            self._told.add(service)
            age = max(0.0, time.time() - snapshot.saved_at)
            tell(self.inner, SnapshotUsed(self.url, service, len(snapshot.instances), age))
        return Listing(snapshot.instances)


def tell(registry: Registry, event: Event) -> None:
    """Tell a registry's listener. What it raises must not stop us: it is logged."""
    try:
        registry.listener(event)
    except Exception:
        _log.exception("the listener of %s failed on %r", registry.url, event)


def _compared(remembered: Listing, update: Update) -> Update:
    """The first true list; as a change of the remembered one if it is much shorter.

    Then a registry may have come back without its data: it lists nobody at first, and how the
    others have gone nobody knows.
    """
    if not isinstance(update, Listing):
        return update
    if 2 * len(update.instances) >= len(remembered.instances):
        return update
    ids = {one.id for one in update.instances}
    return Change(update.instances, lost=frozenset(one.id for one in remembered.instances) - ids)


async def _next(updates: AsyncGenerator[Update, None], keeper: Keeper) -> Update | None:
    """The next update; None at the end."""
    keeper.waiting += 1
    try:
        return await anext(updates, None)
    finally:
        keeper.waiting -= 1


async def _end(task: asyncio.Task[object]) -> None:
    """Leave no task behind, and none whose error nobody has seen."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
