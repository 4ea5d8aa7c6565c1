"""What tests of registries need: waiting for a list, and owners that can be killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from seawall.call import Instance, Listing, Update
from seawall.registry.roster import Roster

Instances = tuple[Instance, ...]

LIMIT = 45.0
"""Seconds after which a test gives up waiting for what should happen."""

_OWNER = """
import asyncio, json, sys
from seawall.call import Instance
from seawall.registry import open_registry

async def main(url, instances):
    registry = open_registry(url, snapshots=False)
    await registry.register([Instance(**one) for one in instances])
    print("announced", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


async def until(
    lists: AsyncIterator[Instances],
    ids: set[str],
    *,
    passed: list[Instances] | None = None,
) -> Instances:
    """Read lists until one holds exactly ``ids``; what came before goes to ``passed``."""
    async with asyncio.timeout(LIMIT):
        async for instances in lists:
            if {one.id for one in instances} == ids:
                return instances
            if passed is not None:
                passed.append(instances)
    raise AssertionError(f"the watch ended before it had shown {ids}")


class Following:
    """Reads a watch, when it is asked to, and adds up what it says."""

    def __init__(self, updates: AsyncGenerator[Update, None]) -> None:
        self._updates = updates
        self._roster = Roster()
        self._begun = False

    async def until(self, wanted: Instances) -> list[Update]:
        """Read until exactly ``wanted`` are listed, facts and all; returns what was read."""
        read: list[Update] = []
        try:
            async with asyncio.timeout(LIMIT):
                while not self._begun or self._roster.instances != wanted:
                    read.append(await self._next())
        except TimeoutError:
            raise AssertionError(
                f"after {LIMIT:g} s the updates come to {self._roster.instances}, not to {wanted}"
            ) from None
        return read

    async def _next(self) -> Update:
        update = await anext(self._updates)
        assert self._begun or isinstance(update, Listing), "a watch begins with a whole list"
        self._begun = True
        self._roster.apply(update)
        return update


async def no_more_tasks_than(before: set[asyncio.Task[Any]]) -> None:
    """Wait until every task that was not there before has ended."""
    new = asyncio.all_tasks() - before
    if new:
        _, left = await asyncio.wait(new, timeout=LIMIT)
        assert not left, "these tasks were left behind"


@asynccontextmanager
async def python_process(
    code: str, *arguments: str
) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of its own that runs ``code``, and the first line that it writes.

    Entered when that line is there; killed and waited for at the end.
    """
    process = _start([sys.executable, "-c", code, *arguments])
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT):
            line = await asyncio.to_thread(process.stdout.readline)
        assert line, "the process ended before it had written a line"
        yield process, line.decode().strip()
    finally:
        _end(process)


@asynccontextmanager
async def owner_process(url: str, *instances: Instance) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process of its own that has registered ``instances`` and does nothing more."""
    listed = json.dumps([asdict(instance) for instance in instances])
    async with python_process(_OWNER, url, listed) as (process, _):
        yield process


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
