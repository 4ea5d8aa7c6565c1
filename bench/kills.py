"""Workers that are killed, and replaced one by one, under load: ``python -m bench.kills``.

One supervisor with two workers or more, and this process, which calls them at a steady rate through
a seawall client with its defaults. The method is idempotent; a call has 4 s.

- Kills: ``kill -9`` of a worker, again and again, each as soon as the one before is made good: the
  new process has answered a call. All workers take turns, or it is always the same one.
- Rolling restarts: SIGHUP to the supervisor, again and again, each when the one before is done.

Seconds are those of this machine, with its load of that time. Exit status 1 if a call failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from types import SimpleNamespace
from typing import Any, Final

from google.protobuf.wrappers_pb2 import StringValue

import seawall
from bench import machine
from bench.echo import SERVICE, EchoStub
from bench.report import table
from bench.workers import HANDLER, TURNS, WAIT, calibrated
from seawall.supervisor import Timing
from seawall.testing.etcd import EtcdServer
from tests.fleet import Load
from tests.supervisor.programs import SEAWALL, Command

METHOD: Final = {"name": [{"service": SERVICE}], "seawall": {"idempotent": True}}
CONFIG: Final = {"methodConfig": [METHOD]}
PROGRAM: Final = (str(SEAWALL), "run", "bench.workers:Spinner")
LIMIT: Final = 2.0
"""Seconds after a kill within which the fleet should be whole again."""
SHOWN: Final = 5
"""Failures that are told in full."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill. Seconds count from it."""

    worker: int
    serves: float
    """Until the supervisor heard from the new process that it serves."""
    whole: float
    """Until the new process answered a call: all workers serve."""


@dataclass(slots=True)
class Found:
    """What a run has shown."""

    load: tuple[float, ...] = field(default_factory=os.getloadavg)
    """Of the machine, before: over 1, 5 and 15 minutes."""
    kills: list[Kill] = field(default_factory=list)
    rollings: list[float] = field(default_factory=list)
    """Seconds that each took."""
    calls: dict[str, int] = field(default_factory=dict)
    """Calls of each part that were answered or failed."""
    failures: dict[str, list[str]] = field(default_factory=dict)


class Fleet:
    """The supervisor, its workers and the load on them."""

    def __init__(self, workers: int, command: Command, load: Load) -> None:
        self._command = command
        self._load = load
        self._pids: dict[int, int] = {}
        self._starts = dict.fromkeys(range(1, workers + 1), 1)
        """Processes that each worker has had."""

    async def ready(self) -> None:
        """Wait until each worker has answered."""
        for worker in self._starts:
            self._pids[worker] = await self._command.pid(worker)
            await self._load.reaches(str(self._pids[worker]))

    async def kill(self, worker: int) -> Kill:
        """Kill a worker; returns when another process answers in its place."""
        began = time.perf_counter()
        os.kill(self._pids[worker], signal.SIGKILL)
        self._starts[worker] += 1
        self._pids[worker] = await self._command.pid(worker, self._starts[worker])
        serves = time.perf_counter() - began
        await self._load.reaches(str(self._pids[worker]))
        return Kill(worker, serves, time.perf_counter() - began)

    async def roll(self, number: int) -> float:
        """Replace all workers, for the ``number``th time; returns how long it took."""
        began = time.perf_counter()
        self._command.send(signal.SIGHUP)
        await self._command.says("rolling restart done", number)
        return time.perf_counter() - began


@asynccontextmanager
async def serving(options: argparse.Namespace, url: str) -> AsyncIterator[tuple[Fleet, Load]]:
    arguments = ("--workers", str(options.workers), "--registry", url)
    environment = {
        "SEAWALL_SHEDDING": options.shedding,
        TURNS: str(options.turns),
        WAIT: str(options.wait / 1000),
    }
    async with (
        Command(*arguments, program=PROGRAM, **environment) as command,
        seawall.connect(url, service_config=CONFIG) as channel,
    ):
        say = EchoStub(channel).Say

        async def ask(_: Any, timeout: float) -> SimpleNamespace:
            answer = await say(StringValue(value="x"), timeout=timeout)
            return SimpleNamespace(instance=answer.value)

        await command.pid(options.workers)
        async with Load(ask, options.rate) as load:
            fleet = Fleet(options.workers, command, load)
            await fleet.ready()
            yield fleet, load
            await load.more(options.rate)


async def kill_all(options: argparse.Namespace, fleet: Fleet, found: Found) -> None:
    """No worker more often than is restarted without a wait: that guard isn't measured here."""
    targets = [1] if options.same else range(1, options.workers + 1)
    most = Timing().most_a_minute * len(targets)
    ended: list[float] = []
    for number in range(options.kills):
        if number >= most:
            await asyncio.sleep(max(0.0, ended[number - most] + 60.5 - time.monotonic()))
        kill = await fleet.kill(targets[number % len(targets)])
        found.kills.append(kill)
        ended.append(time.monotonic())
        print(f"kill {number + 1} of {options.kills}: {kill.whole:.2f} s", file=sys.stderr)


async def roll_all(options: argparse.Namespace, fleet: Fleet, found: Found) -> None:
    for number in range(1, options.rollings + 1):
        found.rollings.append(took := await fleet.roll(number))
        print(f"rolling restart {number} of {options.rollings}: {took:.2f} s", file=sys.stderr)


async def measure(options: argparse.Namespace, url: str) -> Found:
    found = Found()
    for name, count, part in (
        ("kills", options.kills, kill_all),
        ("rolling restarts", options.rollings, roll_all),
    ):
        if count:
            async with serving(options, url) as (fleet, load):
                await part(options, fleet, found)
            found.calls[name], found.failures[name] = load.done, load.failures
    return found


def summary(seconds: Sequence[float]) -> str:
    return f"median {median(seconds):.2f} s, least {min(seconds):.2f}, most {max(seconds):.2f}"


def report(options: argparse.Namespace, found: Found) -> str:
    registry = "etcd" if options.etcd else "local registry"
    before, after = (" ".join(f"{n:.1f}" for n in load) for load in (found.load, os.getloadavg()))
    blocks = [
        f"{machine.cpu_model()}, {machine.cores()} cores; load (1, 5, 15 min) before {before}, "
        f"after {after}\n{options.workers} workers, {registry}, {options.rate} calls/s, "
        f"handlers of {options.work:g} ms of CPU and {options.wait:g} ms of waiting, "
        f"shedding {options.shedding}"
    ]
    if found.kills:
        rows = [
            (str(number), str(kill.worker), f"{kill.serves:.2f} s", f"{kill.whole:.2f} s")
            for number, kill in enumerate(found.kills, 1)
        ]
        whole = [kill.whole for kill in found.kills]
        within = sum(seconds <= LIMIT for seconds in whole)
        blocks.append(table(("kill", "worker", "serves after", "whole after"), rows))
        blocks.append(
            f"whole again after kill -9: {summary(whole)}; "
            f"within {LIMIT:g} s: {within} of {len(whole)}"
        )
    if found.rollings:
        blocks.append(f"{len(found.rollings)} rolling restarts: {summary(found.rollings)}")
    blocks += [
        f"during {name}: {count} calls, {len(found.failures[name])} failed"
        for name, count in found.calls.items()
    ]
    blocks += [text for failures in found.failures.values() for text in failures[:SHOWN]]
    return "\n\n".join(blocks)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, default=2, help="of the fleet (2)")
    parser.add_argument("--kills", type=int, default=20, help="in a row (20); 0: none")
    parser.add_argument("--same", action="store_true", help="kill worker 1 each time")
    parser.add_argument("--rollings", type=int, default=10, help="rolling restarts (10); 0: none")
    parser.add_argument("--rate", type=int, default=100, help="calls a second (100)")
    parser.add_argument("--work", type=float, default=0.0, help="ms of CPU of a handler (0)")
    parser.add_argument("--wait", type=float, default=0.0, help="ms that a handler waits (0)")
    parser.add_argument("--shedding", choices=("on", "off"), default="on", help="of load (on)")
    parser.add_argument("--etcd", action="store_true", help="with an etcd, not a local registry")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parsed(argv)
    options.turns = round(calibrated() * options.work / (1000 * HANDLER)) if options.work else 0
    if options.etcd:
        with EtcdServer() as etcd:
            found = asyncio.run(measure(options, etcd.url))
    else:
        with tempfile.TemporaryDirectory() as place:
            found = asyncio.run(measure(options, f"local://{place}/registry"))
    print(report(options, found))
    sys.exit(any(found.failures.values()))


if __name__ == "__main__":
    main()
