"""Instances that the registry has dropped, and that are kept because they still answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from seawall.call import Change, Instance, Listing, Update
from seawall.events import Listener, MassExpiry
from seawall.policy.expiry import ExpiryGuard
from seawall.policy.group import Group
from seawall.transport.health import Health, health_of

ASK_AGAIN: Final = 5.0
"""Seconds between two health checks of an instance that is kept."""
SILENT_FOR: Final = 15.0
"""Seconds without an answer after which an instance is believed gone: one question may get lost,
or the way there may be cut for the same reason as the way to the registry."""
VAGUE_FOR: Final = 600.0
"""Seconds for which an instance is kept whose server does not say what it serves: by then another
one may be at its address."""
_AT_A_TIME: Final = 50


class _Kept:
    """An instance that vanished, and is kept for now."""

    __slots__ = ("health", "heard", "instance", "since", "told")

    def __init__(self, instance: Instance, now: float) -> None:
        self.instance = instance
        self.since = now
        self.heard = now
        """When it last answered; at first, when it vanished."""
        self.health: Health | None = None
        self.told = False


class Doubt:
    """Stands between the registry's updates and a group.

    When most instances vanish at once without a goodbye, they stay in the group for as long as
    they answer their health check (see ``policy.expiry``). ``take`` is given the change when one
    of them no longer does. ``window`` is the registry's time to live in seconds.
    """

    def __init__(
        self, group: Group, window: float, take: Callable[[Change], None], listener: Listener
    ) -> None:
        self._group = group
        self._take = take
        self._listener = listener
        self._guard = ExpiryGuard(window)
        self._kept: dict[str, _Kept] = {}
        """By id: dropped by the registry, and still in the group."""
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def examine(self, update: Update) -> Update:
        """The update, less the losses that are not believed."""
        if isinstance(update, Listing):
            self._clear(self._kept.keys() | {one.id for one in update.instances})
            return update
        self._clear({one.id for one in update.put} | update.left)
        if not update.lost:
            return update
        lost = list(self._group.listed(update.lost - self._kept.keys()))
        now, listed = time.monotonic(), len(self._group) - len(self._kept)
        doubted = self._guard.vanish(lost, listed, now)
        if doubted is None:
            return update
        fresh = {one.id: _Kept(one, now) for one in doubted if one.id not in self._kept}
        self._kept |= fresh
        self._ask()
        # Those that went first had been believed: they are back in the group to be asked.
        back = tuple(kept.instance for id_, kept in fresh.items() if id_ not in update.lost)
        return update.changed(put=update.put + back, lost=update.lost - self._kept.keys())

    async def close(self) -> None:
        """Ask nobody any more."""
        self._kept.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _clear(self, ids: set[str]) -> None:
        self._guard.seen(ids)
        for id_ in ids:
            self._kept.pop(id_, None)

    def _ask(self) -> None:
        self._more.set()
        if self._task is None or self._task.done():
            name = f"doubts about {self._group.service}"
            self._task = asyncio.create_task(self._ask_all(), name=name)

    async def _ask_all(self) -> None:
        at_a_time = asyncio.Semaphore(_AT_A_TIME)
        while self._kept:
            self._more.clear()
            asked = tuple(self._kept.values())
            answers = await asyncio.gather(*(self._health_of(kept, at_a_time) for kept in asked))
            for kept, health in zip(asked, answers, strict=True):
                kept.health = health
                if health is not Health.SILENT:
                    kept.heard = time.monotonic()
            self._drop_those_that_are_gone()
            self._tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN):
                    await self._more.wait()

    async def _health_of(self, kept: _Kept, at_a_time: asyncio.Semaphore) -> Health:
        async with at_a_time:
            endpoint = self._group.endpoint_of(kept.instance)
            if endpoint is None:  # another instance is at its address
                return Health.DENIES
            return await health_of(endpoint, self._group.service)

    def _drop_those_that_are_gone(self) -> None:
        # Of what is kept now: the registry may have had its say while they were asked.
        now = time.monotonic()
        gone = {id_ for id_, kept in self._kept.items() if _is_gone(kept, now)}
        for id_ in gone:
            del self._kept[id_]
        self._guard.dead(gone)
        if gone:
            self._take(Change(lost=frozenset(gone)))

    def _tell(self) -> None:
        untold = [kept for kept in self._kept.values() if not kept.told]
        answering = [kept for kept in untold if kept.health in (Health.SERVES, Health.ANSWERS)]
        if answering:
            self._listener(MassExpiry(self._group.service, len(answering)))
        for kept in answering:
            kept.told = True


def _is_gone(kept: _Kept, now: float) -> bool:
    if kept.health is Health.SILENT:
        return now - kept.heard >= SILENT_FOR
    if kept.health is Health.ANSWERS:
        return now - kept.since >= VAGUE_FOR
    return kept.health is Health.DENIES
