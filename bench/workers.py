"""What a second worker is worth: ``python -m bench.workers``.

Handlers that use the CPU for about 2 ms, served by one worker and by two, under two supervisors.
They take turns, in an order that changes, so what slows the machine slows both. This process is the
client, on the same cores: what it takes, the workers can't have. So beside the plain ratio there is
one that is paid for it: the calls for each core that the client left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from google.protobuf.wrappers_pb2 import StringValue

import seawall
from bench import machine
from bench.echo import EchoServicer, EchoStub
from bench.fleet import ROOT
from bench.report import table

TURNS: Final = "BENCH_TURNS"
"""Environment: how many times a handler goes round its loop."""
WAIT: Final = "BENCH_WAIT"
"""Environment: seconds that a handler waits after that."""
HANDLER: Final = 0.002
"""Seconds of CPU that a handler takes."""
START_LIMIT: Final = 60.0


def spin(turns: int) -> int:
    total = 0
    for number in range(turns):
        total += number & 7
    return total


class Spinner(seawall.Service, EchoServicer):
    """Answers with the number of its process, after some work."""

    turns = int(os.environ.get(TURNS, "0"))
    wait = float(os.environ.get(WAIT, "0"))

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        spin(self.turns)
        if self.wait:
            await asyncio.sleep(self.wait)
        return StringValue(value=str(os.getpid()))


def calibrated() -> int:
    """How often to go round for ``HANDLER`` seconds."""
    sample = 20_000
    best = float("inf")
    for _ in range(30):
        began = time.thread_time()
        spin(sample)
        best = min(best, time.thread_time() - began)
    return round(sample * HANDLER / best)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a number of workers did in one turn."""

    rate: float
    """Calls a second."""
    client: float
    """Cores that the client used."""
    counts: tuple[int, ...]
    """Calls that each worker answered, in the order of their processes."""


def uneven(counts: Sequence[int]) -> float:
    """How far the worker that is furthest from the mean is from it: per cent of the mean."""
    mean = sum(counts) / len(counts)
    return 100 * max(abs(count - mean) for count in counts) / mean


def in_all(turns: Sequence[Turn]) -> list[int]:
    """Calls that each worker answered in all the turns."""
    return [sum(counts) for counts in zip(*(turn.counts for turn in turns), strict=True)]


class Fleet:
    """A supervisor with so many workers, and a channel to them."""

    def __init__(self, workers: int, channel: Any) -> None:
        self.workers = workers
        self._say = EchoStub(channel).Say

    async def ready(self) -> None:
        """Wait until each worker has answered."""
        seen: set[str] = set()
        async with asyncio.timeout(START_LIMIT):
            while len(seen) < self.workers:
                asked = (self._call() for _ in range(8 * self.workers))
                seen |= {answer for answer in await asyncio.gather(*asked) if answer}

    async def turn(self, seconds: float, lanes: int) -> Turn:
        """``lanes`` calls at a time, each lane one after the other."""
        counts: Counter[str] = Counter()
        began, used = time.perf_counter(), _cpu()
        until = began + seconds

        async def lane() -> None:
            while time.perf_counter() < until:
                counts[await self._call()] += 1

        await asyncio.gather(*(lane() for _ in range(lanes)))
        wall = time.perf_counter() - began
        client = (_cpu() - used) / wall
        return Turn(
            sum(counts.values()) / wall, client, tuple(counts[pid] for pid in sorted(counts))
        )

    async def _call(self) -> str:
        return (await self._say(StringValue(value="x"), timeout=20.0, wait_for_ready=True)).value


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def fleet(workers: int, turns: int, directory: Path) -> AsyncIterator[Fleet]:
    url = f"local://{directory}/{workers}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SEAWALL_"))}
    # Whoever sheds load or freezes is not measured here.
    ours = {TURNS: str(turns), "SEAWALL_SHEDDING": "off", "SEAWALL_LOG": "ERROR"}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("seawall"), "run", "bench.workers:Spinner",
        "--workers", str(workers), "--registry", url,
        cwd=ROOT, env=kept | ours,
    )  # fmt: skip
    try:
        async with seawall.connect(url) as channel:
            made = Fleet(workers, channel)
            await made.ready()
            yield made
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure(options: argparse.Namespace) -> dict[int, list[Turn]]:
    turns = calibrated()
    found: dict[int, list[Turn]] = {1: [], options.workers: []}
    order = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        async with (
            fleet(1, turns, directory) as one,
            fleet(options.workers, turns, directory) as several,
        ):
            for number in range(options.rounds):
                pair = [one, several]
                order.shuffle(pair)
                for each in pair:
                    found[each.workers].append(await each.turn(options.seconds, options.lanes))
                print(f"\rround {number + 1}/{options.rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def report(found: dict[int, list[Turn]]) -> str:
    cores = machine.cores()
    base, several = found[1], found[max(found)]
    rows = [
        (
            str(workers),
            f"{median(turn.rate for turn in turns):.0f}",
            f"{median(turn.client for turn in turns):.2f}",
            f"{median(uneven(turn.counts) for turn in turns):.1f} %",
            f"{uneven(in_all(turns)):.1f} %",
        )
        for workers, turns in found.items()
    ]
    ratios = [after.rate / before.rate for before, after in zip(base, several, strict=True)]
    free = min(max(found), cores)
    paid = [
        ratio * free / min(free, cores - turn.client)
        for ratio, turn in zip(ratios, several, strict=True)
    ]
    header = ("workers", "calls/s", "client's cores", "uneven in a turn", "in all")
    return (
        f"{machine.cpu_model()}, {cores} cores; handlers of {HANDLER * 1000:g} ms\n\n"
        f"{table(header, rows)}\n\n"
        f"{max(found)} workers to 1: x {median(ratios):.2f}; "
        f"paid for the client's CPU: x {median(paid):.2f} "
        f"(rounds {min(paid):.2f} to {max(paid):.2f})"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="to compare with one (2)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (10)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn (4)")
    parser.add_argument("--lanes", type=int, default=8, help="calls at a time (8)")
    print(report(asyncio.run(measure(parser.parse_args(argv)))))


if __name__ == "__main__":
    main()
