"""Looking one name up again and again, for as long as somebody watches."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from seawall.clock import Random
from seawall.registry.dns.health import Health
from seawall.registry.dns.inquiry import Found, Inquiry, Look

_log = logging.getLogger(__name__)

FIRST_RETRY: Final = 1.0
"""Seconds until a look-up that failed is repeated: doubled up to ``max_ttl``, and jittered."""
SPREAD: Final = 0.1
"""Part of a TTL by which processes that share a server's cache look up later than it ends."""


class Follower:
    """One name, with one task that looks it up, however many watch it.

    What was found stays known while nobody watches.
    """

    def __init__(
        self,
        name: str,
        inquiry: Inquiry,
        health: Health,
        ttls: tuple[float, float],
        malformed: Callable[[str, str], None],
        chance: Random = random.random,
    ) -> None:
        self.known: tuple[Found, ...] | None = None
        """Who is there; None = not known yet."""
        self.settled = False
        """Whether a look-up that isn't too old has ended, well or not."""
        self._name = name
        self._inquiry = inquiry
        self._health = health
        self._least, self._most = ttls
        self._malformed = malformed
        self._chance = chance
        self._told: frozenset[str] = frozenset()
        self._failures = 0
        self._due = 0.0
        self._watches: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def join(self, wake: asyncio.Event) -> None:
        """Set ``wake`` whenever ``known`` or ``settled`` have changed."""
        self._watches.add(wake)
        if self._task is None:
            self.settled = self.settled and asyncio.get_running_loop().time() < self._due
            self._task = asyncio.create_task(self._run(), name=f"seawall dns {self._name}")

    def leave(self, wake: asyncio.Event) -> asyncio.Task[None] | None:
        """Undo ``join``. The last to leave gets the task that is to be waited for."""
        self._watches.discard(wake)
        if self._watches or self._task is None:
            return None
        task, self._task = self._task, None
        task.cancel()
        self._health.forget(self)
        return task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._due - loop.time())
            try:
                look = await self._inquiry.look()
                self._due = loop.time() + self._pause(look)
                self._take(look)
            except Exception as error:  # a mistake of ours must not end the watches in silence
                _log.exception("looking up %s failed; it is tried again", self._name)
                problem = f"looking up {self._name} failed: {error!r}"
                self._health.report(self, problem, away=False)
                self._due = loop.time() + self._most

    def _take(self, look: Look) -> None:
        self._health.report(self, look.problem, away=look.away)
        for problem in look.malformed:
            if problem not in self._told:
                self._malformed(self._name, problem)
        if look.malformed or not look.failed:
            self._told = frozenset(look.malformed)
        if self.settled and look.found == self.known:
            return
        self.known, self.settled = look.found, True
        for wake in self._watches:
            wake.set()

    def _pause(self, look: Look) -> float:
        """Seconds until the next look-up."""
        ttl = self._least if look.doubted else min(max(look.ttl, self._least), self._most)
        pause = ttl * (1.0 + SPREAD * self._chance())
        if not look.failed:
            self._failures = 0
            return pause
        back_off = min(FIRST_RETRY * 2.0 ** min(self._failures, 16), self._most)
        back_off *= 0.5 + 0.5 * self._chance()
        self._failures += 1
        return back_off if look.away else max(self._least, min(pause, back_off))
