"""One client of the comparison, and its load: an open loop. Started by ``turn``.

A call starts at its moment whatever became of the others, and its latency counts from that moment:
a client that is stuck can't hide it by asking less (coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import IO, Any, Final

from bench.peers.child import be_child
from bench.peers.kinds import KINDS, Caller
from bench.worker import cpu, serve_commands

WARM_UP: Final = 60
"""Calls, one after the other, before the load: they are not counted."""
WARM_UP_TIMEOUT: Final = 5.0


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Moments in seconds from the start, ``rate`` of them a second on the average, by chance."""
    draw, at = random.Random(seed), 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        yield at


class Load:
    """Makes the calls as scheduled and remembers what became of each."""

    def __init__(self, call: Caller, deadline: float) -> None:
        self._call = call
        self._deadline = deadline
        self.at: list[float] = []
        self.latency: list[float] = []
        self.lag: list[float] = []
        """Seconds by which each call started late: the client's own loop, or the machine."""
        self.code: list[str] = []
        self.stories: dict[str, str] = {}
        """The first error of each code, in its own words."""

    async def run(self, start: float, moments: Iterator[float]) -> None:
        """``start`` is on the monotonic clock; returns when all calls have ended."""
        calls: set[asyncio.Task[None]] = set()
        for at in moments:
            delay = start + at - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            call = asyncio.create_task(self._one(start, at))
            calls.add(call)
            call.add_done_callback(calls.discard)
        if calls:
            await asyncio.wait(calls)

    async def _one(self, start: float, at: float) -> None:
        due = start + at
        lag = time.monotonic() - due
        code = "OK"
        try:
            await self._call(self._deadline)
        except Exception as error:
            ask = getattr(error, "code", None)
            code = ask().name if callable(ask) else type(error).__name__
            if code not in self.stories:
                explain = getattr(error, "explain", None)
                self.stories[code] = str(explain() if callable(explain) else error)
        self.at.append(at)
        self.latency.append(time.monotonic() - due)
        self.lag.append(lag)
        self.code.append(code)


async def warm_up(call: Caller) -> None:
    for _ in range(WARM_UP):
        await call(WARM_UP_TIMEOUT)


def packed(load: Load, used: float) -> dict[str, Any]:
    return {
        "at": [round(value, 4) for value in load.at],
        "latency": [round(value, 5) for value in load.latency],
        "lag": [round(value, 4) for value in load.lag],
        "code": load.code,
        "stories": load.stories,
        "cpu": used,
    }


async def run(spec: dict[str, Any], answers: IO[str]) -> None:
    async with KINDS[spec["kind"]](spec["addresses"], spec["extra"]) as call:
        await warm_up(call)

        async def play(command: dict[str, Any]) -> dict[str, Any]:
            moments = arrivals(command["rate"], command["seconds"], command["seed"])
            load = Load(call, command["deadline"])
            before = cpu()
            await load.run(command["start"], moments)
            return packed(load, cpu() - before)

        await serve_commands(answers, {}, play)


if __name__ == "__main__":
    be_child(run)
