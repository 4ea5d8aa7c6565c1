"""A listener that keeps what it hears, and lets a test wait for more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from seawall.events import Event

E = TypeVar("E", bound=Event)
LIMIT = 20.0


class Heard:
    """``seawall.connect(..., listener=heard)``; or a base of a registry that hears itself."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds that only an event can change."""
        async with asyncio.timeout(LIMIT):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def told(self, kind: type[E], times: int = 1) -> E:
        """Wait until events of this kind have come so many times; returns that one."""
        await self.until(lambda: len(self.of(kind)) >= times)
        return self.of(kind)[times - 1]
