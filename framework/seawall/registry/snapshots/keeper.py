"""Keeps the last good list of one service on disk as the registry has it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from seawall.call import Change, Update
from seawall.registry.roster import Roster
from seawall.registry.snapshots.store import Store

SETTLE: Final = 0.1
"""Seconds from a change to its writing: what comes together is written together."""
PAUSE: Final = 2.0
"""Seconds between two writes, at least."""
SHARE: Final = 0.01
"""Share of one processor that writing may take, at most: large lists are written less often."""
CONFIRM: Final = (200.0, 300.0)
"""Seconds until a list that has not changed is written again, so that its age says when the
registry was last known to agree. Jittered: not all processes of a machine at once."""
AGAIN: Final = 60.0
"""Seconds until a write that failed is tried again."""
FAREWELL: Final = 1.0
"""Seconds that the end of a watch may be held up by a last write."""


class Keeper:
    """Adds up what the watches of a service are told, and has it written now and then.

    ``well`` says whether the registry has no problem now.
    """

    def __init__(self, service: str, store: Store, well: Callable[[], bool]) -> None:
        self.watches = 0
        """How many there are."""
        self.waiting = 0
        """How many of them wait for the next update, so that none can be missing here."""
        self._service = service
        self._store = store
        self._well = well
        self._roster = Roster()
        self._known_at = 0.0
        self._changed = asyncio.Event()
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def take(self, update: Update) -> None:
        """The registry has told a watch of this."""
        if self._closed:
            return
        known = bool(self._roster.instances)
        self._roster.apply(update)
        if not self._roster.instances and not _all_left(update, known):
            return  # perhaps the registry has lost its data: what is on disk may be needed yet
        self._known_at = time.time()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"snapshots of {self._service}")

    async def close(self) -> None:
        """Stop, and write what hasn't been written, if that is quickly done."""
        self._closed = True
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if self._changed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self._write()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(random.uniform(*CONFIRM)):
                    await self._changed.wait()
            except TimeoutError:
                await self._confirm()
                continue
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(SETTLE, self._not_before - now))
            await self._write()

    async def _write(self) -> None:
        spent = None
        self._changed.clear()
        try:
            if self._current():
                self._known_at = time.time()
            spent = await self._store.save(self._service, self._roster.instances, self._known_at)
        finally:
            if spent is None:
                self._changed.set()
            pause = AGAIN if spent is None else max(PAUSE, spent / SHARE)
            self._not_before = asyncio.get_running_loop().time() + pause

    async def _confirm(self) -> None:
        """Renew the time of what is on disk, unless another process has just done so."""
        # What is listed as empty has no file that could be renewed.
        if (
            self._current()
            and self._roster.instances
            and not await self._store.fresh(self._service, CONFIRM[0] / 2)
        ):
            await self._write()

    def _current(self) -> bool:
        """Whether what we know is what the registry says now."""
        return self._well() and self.waiting > 0


def _all_left(update: Update, known: bool) -> bool:
    """Whether the last of those that were ``known`` have said goodbye."""
    if isinstance(update, Change):
        return bool(update.left) and not update.lost
    return known
