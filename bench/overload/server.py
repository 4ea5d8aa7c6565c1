"""One server under load, started by ``bench.overload``. Commands on stdin ask how it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from bench.echo import EchoServicer, add_EchoServicer_to_server
from bench.peers.child import be_child
from bench.worker import cpu, serve_commands
from seawall import Service

SLOTS: Final = 4
"""Requests that ``free`` handlers work on at a time, as with a pool of connections."""
FREE: Final = 0.010
"""Seconds that such a request takes, without CPU."""
BOUND: Final = 0.002
"""Seconds of CPU that a request of the other kind takes."""
_LIMIT: Final = {"free": 10 * SLOTS, "bound": 50}
"""``maximum_concurrent_rpcs``: 0.1 s worth of work."""


class Free(EchoServicer):
    """Waits for one of a few slots, and then for something elsewhere."""

    def __init__(self, slots: int | None) -> None:
        super().__init__()
        self._slots = None if slots is None else asyncio.Semaphore(slots)
        self.done = 0

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        if self._slots is None:
            await asyncio.sleep(FREE)
        else:
            async with self._slots:
                await asyncio.sleep(FREE)
        self.done += 1
        return request


class Bound(EchoServicer):
    """Computes on the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        until = time.thread_time() + BOUND
        while time.thread_time() < until:
            pass
        self.done += 1
        return request


class Admitted(Service, Free):
    """``Free`` behind a limit of the framework's own in the place of the semaphore."""

    def __init__(self, **settings: Any) -> None:
        Service.__init__(self, **settings)
        Free.__init__(self, None)


class Shedding(Service, Bound):
    """``Bound`` as it is: nobody knows how many requests it can take."""

    def __init__(self, **settings: Any) -> None:
        Service.__init__(self, **settings)
        Bound.__init__(self)


@asynccontextmanager
async def plain(work: str, limit: int | None) -> AsyncIterator[tuple[str, Free | Bound]]:
    servicer = Free(SLOTS) if work == "free" else Bound()
    server = aio.server(maximum_concurrent_rpcs=limit, options=[("grpc.so_reuseport", 0)])
    add_EchoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", servicer
    await server.stop(None)


@asynccontextmanager
async def ours(work: str) -> AsyncIterator[tuple[str, Free | Bound]]:
    settings: Mapping[str, Any] = {"registry": "memory://overload", "unix_socket": False}
    service = (
        Admitted(max_concurrency=SLOTS, **settings) if work == "free" else Shedding(**settings)
    )
    async with service:
        yield service.address, service


def memory() -> int:
    """Resident bytes of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def serve(spec: dict[str, Any], answers: IO[str]) -> None:
    kind, work = spec["kind"], spec["work"]
    limit = _LIMIT[work] if kind == "limited" else None
    opened = ours(work) if kind == "seawall" else plain(work, limit)
    async with opened as (address, servicer):

        async def tell(command: dict[str, Any]) -> dict[str, Any]:
            return {"cpu": cpu(), "done": servicer.done, "memory": memory()}

        await serve_commands(answers, {"address": address}, tell)


if __name__ == "__main__":
    be_child(serve)
