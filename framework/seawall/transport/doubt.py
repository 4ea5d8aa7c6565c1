"""Instances that the registry has dropped, and that are kept because they still answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from seawall.call import Change, Instance, Listing, Update
from seawall.events import Listener, MassExpiry
from seawall.policy.expiry import ExpiryGuard
from seawall.policy.group import Group
from seawall.transport.health import is_serving

ASK_AGAIN: Final = 5.0
"""Seconds between two health checks of an instance that is kept."""
_AT_A_TIME: Final = 50


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
        self._kept: dict[str, Instance] = {}
        """By id: dropped by the registry, and still in the group."""
        self._untold = 0
        """How many of them nobody has been told about."""
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
        listed = len(self._group) - len(self._kept)
        doubted = self._guard.vanish(lost, listed, time.monotonic())
        if doubted is None:
            return update
        fresh = {one.id: one for one in doubted if one.id not in self._kept}
        self._kept |= fresh
        self._untold += len(fresh)
        self._ask()
        # Those that went first had been believed: they are back in the group to be asked.
        back = tuple(one for one in fresh.values() if one.id not in update.lost)
        return replace(update, put=update.put + back, lost=update.lost - self._kept.keys())

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
            answers = await asyncio.gather(*(self._answers(one, at_a_time) for one in asked))
            silent = {one.id for one, answer in zip(asked, answers, strict=True) if not answer}
            silent &= self._kept.keys()  # the registry may have had its say meanwhile
            for id_ in silent:
                del self._kept[id_]
            if silent:
                self._take(Change(lost=frozenset(silent)))
            self._tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN):
                    await self._more.wait()

    async def _answers(self, instance: Instance, at_a_time: asyncio.Semaphore) -> bool:
        async with at_a_time:
            endpoint = self._group.endpoint_of(instance)
            if endpoint is None:
                return False
            return await is_serving(endpoint.transport, self._group.service)

    def _tell(self) -> None:
        vanished, self._untold = self._untold, 0
        if vanished and self._kept:
            self._listener(MassExpiry(self._group.service, vanished, len(self._kept)))
