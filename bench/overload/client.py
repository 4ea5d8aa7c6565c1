"""The load: an open loop of critical and sheddable calls. Started by ``bench.overload``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO, Any, Final

from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

import seawall
from bench.echo import SERVICE, TEXT, EchoStub
from bench.peers.child import be_child
from bench.peers.client import arrivals
from bench.worker import cpu, serve_commands

CLASSES: Final = ("critical", "sheddable")
Caller = Callable[[str, float], Awaitable[object]]
"""Makes one call of a class with so many seconds for it."""

_REQUEST: Final = StringValue(value=TEXT)
_HEADERS: Final = {"critical": None, "sheddable": (("seawall-criticality", "sheddable"),)}
_CONFIG: Final = {
    "methodConfig": [{"name": [{"service": SERVICE}], "seawall": {"idempotent": True}}]
}


@asynccontextmanager
async def plain(address: str) -> AsyncIterator[Caller]:
    async with aio.insecure_channel(address) as channel:
        stub = EchoStub(channel)

        async def call(criticality: str, timeout: float) -> object:
            return await stub.Say(_REQUEST, timeout=timeout, metadata=_HEADERS[criticality])

        yield call


@asynccontextmanager
async def ours(address: str) -> AsyncIterator[Caller]:
    async with seawall.connect(f"static://{address}", service_config=_CONFIG) as fleet:
        stub = EchoStub(fleet)
        await fleet.channel_ready()

        async def call(criticality: str, timeout: float) -> object:
            with seawall.options(criticality=criticality):
                return await stub.Say(_REQUEST, timeout=timeout)

        yield call


class Load:
    """Makes calls at their moments, and remembers when each was due and what became of it."""

    def __init__(self, call: Caller, deadline: float) -> None:
        self._call = call
        self._deadline = deadline
        self._pending: set[asyncio.Task[None]] = set()
        self.records: list[tuple[float, int, str, float]] = []
        """When it was due, its class, its code, and the seconds that it took from then."""

    async def run(self, rate: float, seconds: float, critical: float, seed: int) -> None:
        """``rate`` calls a second, of which this share is critical; returns when all have ended."""
        draw, start = random.Random(seed), time.monotonic()
        for at in arrivals(rate, seconds, seed):
            delay = start + at - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            which = 0 if draw.random() < critical else 1
            call = asyncio.create_task(self._one(start, at, which))
            self._pending.add(call)
            call.add_done_callback(self._pending.discard)
        if self._pending:
            await asyncio.wait(self._pending)

    async def _one(self, start: float, at: float, which: int) -> None:
        code = "OK"
        try:
            await self._call(CLASSES[which], self._deadline)
        except aio.AioRpcError as error:
            code = error.code().name
        self.records.append((round(at, 3), which, code, round(time.monotonic() - start - at, 4)))


async def closed_loop(call: Caller, seconds: float, lanes: int) -> int:
    """Calls answered by so many callers that ask one thing after the other."""
    end, done = time.monotonic() + seconds, 0

    async def lane() -> None:
        nonlocal done
        while time.monotonic() < end:
            await call("critical", 5.0)
            done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())
    return done


async def run(spec: dict[str, Any], answers: IO[str]) -> None:
    opened = ours if spec["kind"] == "seawall" else plain
    async with opened(spec["address"]) as call:

        async def play(command: dict[str, Any]) -> dict[str, Any]:
            if "lanes" in command:
                began = time.monotonic()
                done = await closed_loop(call, command["seconds"], command["lanes"])
                return {"rate": done / (time.monotonic() - began)}
            load, before = Load(call, command["deadline"]), cpu()
            await load.run(
                command["rate"], command["seconds"], command["critical"], command["seed"]
            )
            return {"records": load.records, "cpu": cpu() - before}

        await serve_commands(answers, {}, play)


if __name__ == "__main__":
    be_child(run)
