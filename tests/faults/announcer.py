"""Announces, changes and withdraws instances that nobody calls, and notes each in the ledger."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from seawall.call import Instance
from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import Event
from seawall.registry import open_registry
from seawall.registry.base import Registration
from tests.faults.ledger import Change, Ledger, state_of

SERVICE: Final = "seawall.tests.Probe"


@dataclass(slots=True)
class Held:
    """Instances that were announced together."""

    ids: tuple[str, ...]
    registration: Registration


class Announcer:
    """Makes changes one after the other, through a registry object of its own."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.events: list[tuple[float, Event]] = []
        self.refusals: list[str] = []
        """What the registry said when it did not take a change."""
        self._registry = open_registry(url, listener=self._hear)
        self._ledger = ledger
        self._numbers = itertools.count(1)

    async def add(self, count: int = 1) -> Held | None:
        """Announce so many new instances at once; None if that was refused."""
        ids = tuple(f"probe-{next(self._numbers):03}" for _ in range(count))
        instances, changes = self._planned(ids)
        try:
            registration = await self._registry.register(instances)
        except RegistryError as refusal:
            self._refused("add", refusal)
            for id_ in ids:
                self._ledger.plan(SERVICE, id_, None)  # it was taken back, if it ever got there
            return None
        _ack(changes)
        return Held(ids, registration)

    async def change(self, held: Held) -> None:
        """Give them other facts. What etcd can't take now has to be there in the end."""
        instances, changes = self._planned(held.ids)
        try:
            await held.registration.update(instances)
        except RegistryError as refusal:
            self._refused("change", refusal)
        else:
            _ack(changes)

    async def remove(self, held: Held) -> None:
        """Say goodbye."""
        for id_ in held.ids:
            self._ledger.plan(SERVICE, id_, None)
        await held.registration.close()

    @asynccontextmanager
    async def churn(self, pause: float) -> AsyncIterator[None]:
        """Make a change every ``pause`` seconds; the one under way is finished at the end."""
        over = asyncio.Event()
        task = asyncio.create_task(self._churn(pause, over))
        try:
            yield
        finally:
            over.set()
            await task

    async def close(self) -> None:
        await self._registry.close()

    async def _churn(self, pause: float, over: asyncio.Event) -> None:
        stays, comes = await self.add(), None
        for turn in itertools.count():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await over.wait()
            if over.is_set():
                return
            # One is added, another changed, and of two that were added one leaves.
            match turn % 4:
                case 0:
                    comes = await self.add()
                case 1 | 3 if stays:
                    await self.change(stays)
                case 2 if comes:
                    await self.remove(comes)
                case _:
                    stays = stays or await self.add()

    def _planned(self, ids: Sequence[str]) -> tuple[list[Instance], list[Change]]:
        instances, changes = [], []
        for id_ in ids:
            # Discard's port: nobody is there, and nobody calls.
            address, facts = "127.0.0.1:9", {"change": self._ledger.next_number}
            changes.append(self._ledger.plan(SERVICE, id_, state_of(address, facts)))
            instances.append(Instance(SERVICE, id_, address, facts))
        return instances, changes

    def _refused(self, what: str, refusal: RegistryError) -> None:
        kind = "unavailable" if isinstance(refusal, RegistryUnavailable) else "refused"
        self.refusals.append(f"{what} {kind}: {refusal}")

    def _hear(self, event: Event) -> None:
        self.events.append((time.monotonic(), event))


def _ack(changes: Sequence[Change]) -> None:
    for change in changes:
        change.acked = True
