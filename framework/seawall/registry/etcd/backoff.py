"""How long to wait before trying again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from seawall.clock import Random
from seawall.errors import RegistryUnavailable
from seawall.registry.etcd.rpc import Away

_log = logging.getLogger(__name__)

FIRST = 0.05
"""Seconds before the second try; doubled with each further one."""
BRISK = 0.2
"""The longest wait while an outage is young: etcd's own restart is noticed at once."""
CALM = 1.0
"""The longest wait otherwise: thousands of processes may be waiting for the same etcd."""
PATIENT = 1.8
"""The longest wait for an etcd that takes connections and does not answer in time."""
REFUSED = (1.0, 1.8)
"""Seconds between tries of what an operator has to mend first (a password, a permission). Below
``feed.DOUBT``: when it is mended, owners must be back before others believe that they have gone."""


def delay(tries: int, longest: float, chance: Random = random.random) -> float:
    """Seconds before try number ``tries`` (0 = the first: none); jittered over its upper half."""
    if tries <= 0:
        return 0.0
    return min(FIRST * 2.0 ** min(tries - 1, 16), longest) * (0.5 + 0.5 * chance())


class Retry:
    """The pauses of one loop that tries for ever."""

    def __init__(self, chance: Random = random.random) -> None:
        self._chance = chance
        self._tries = 0

    def reset(self) -> None:
        self._tries = 0

    async def pause(self, problem: Exception) -> None:
        """Wait as long as this problem asks for."""
        if isinstance(problem, Away):
            # The client paces its reconnections itself, once for all loops.
            await asyncio.sleep(0)
        elif isinstance(problem, RegistryUnavailable):
            self._tries += 1
            await asyncio.sleep(delay(self._tries, CALM, self._chance))
        else:
            low, high = REFUSED
            await asyncio.sleep(low + (high - low) * self._chance())


def persist(loop: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
    """Run a loop as a task until it returns or is cancelled.

    What it doesn't expect is a mistake of ours: it is logged, and must not end a registration or
    a watch in silence, so the loop is started again.
    """

    async def run() -> None:
        while True:
            try:
                return await loop()
            except Exception:
                _log.exception("%s failed; it starts again", name)
                await asyncio.sleep(CALM)

    return asyncio.create_task(run(), name=name)


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, wait for their end, and forget them: what they ended with holds the frames in
    which they were, and with these a call and its connection, until the garbage collector comes."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    tasks.clear()
