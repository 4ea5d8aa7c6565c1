"""A process that does nothing but watch: ``python -m tests.faults.witness URL SERVICE...``

What it sees goes to stdout, one JSON object a line. On stdin it takes the names of further
services to watch, one a line; it ends when stdin does, and so with whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing, suppress
from typing import Any

from seawall.call import Change, Update
from seawall.events import Event
from seawall.registry import Registry, open_registry
from seawall.registry.roster import Roster
from tests.faults.ledger import state_of

States = dict[str, str]


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps({"at": time.monotonic(), **facts}) + "\n")
    sys.stdout.flush()


def tell(event: Event) -> None:
    say(told=type(event).__name__, facts=dict(event.items()))


def report(before: States, after: States, update: Update) -> dict[str, Any]:
    """What an update changed. ``again``: it calls changed what was known already."""
    put = {id_: state for id_, state in after.items() if before.get(id_) != state}
    named = {one.id for one in update.put} if isinstance(update, Change) else set()
    return {
        "put": put,
        "gone": sorted(before.keys() - after.keys()),
        "again": sorted(named - put.keys()),
    }


async def watch(registry: Registry, service: str) -> None:
    roster, before = Roster(), States()
    async with aclosing(registry.watch(service)) as updates:
        async for update in updates:
            roster.apply(update)
            after = {one.id: state_of(one.address, one.metadata) for one in roster.instances}
            say(service=service, **report(before, after, update))
            before = after


async def main(url: str, services: list[str]) -> None:
    registry = open_registry(url, listener=tell)
    watches = [asyncio.create_task(watch(registry, service)) for service in services]
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        watches.append(asyncio.create_task(watch(registry, line.decode().strip())))
    await registry.close()
    for each in watches:
        with suppress(BrokenPipeError):
            await each


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
