"""``python -m bench.churn [--seconds 300] [--plain]``: connects, cancels, cut streams, errors and
rubbish against a server with ``async`` and ``def`` handlers, by the hundred a second.

Measures what the server and its clients hold before, every 30 s, and after. Exit status 1, with the
names of what did not come back, if any; 0 otherwise.

Memory is that of a process which ``run()`` has started: malloc keeps to two arenas, and what gRPC's
core is handed for a call is freed however the call ends. ``--plain`` is the control: the same
callers, but plain grpc.aio on both sides, ``async`` handlers only; its memory is shown, not judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

CLIENTS = 2
WARM_UP = 20.0
"""Seconds of churn before the first measure: pools have their threads, caches their entries."""
REST = 5.0
"""Seconds of rest before that measure: what is held then is what it costs to be there."""
EVERY = 30.0
QUIET = 30
"""Seconds that all may take to come back."""
ANSWERS = 30.0
MORE_MEMORY = 8
"""MiB that a process may have more at the end; 3 were seen. Of 98,000 things in 300 s, 7,500 a
kind, a server shows what leaks 1.2 KiB for each of a kind, or 90 bytes for each of all."""
COUNTED = ("descriptors", "threads", "tasks", "calls")
SHOWN = (*COUNTED, "memory", "used", "free", "blocks")

PLAIN = "--plain"

Facts = dict[str, Any]


class Process:
    """A process of the churn, and how to ask it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @classmethod
    async def start(
        cls, side: str, number: int, ports: list[int], options: Sequence[str]
    ) -> tuple[Process, Facts]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.churn.process",
            side, str(number), *map(str, ports), *options,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made = cls(side if side == "server" else f"clients {number}", process)
        return made, await made._answer()

    async def ask(self, do: str) -> Facts:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do}).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> Facts:
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWERS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {await self._process.wait()}")
        answer: Facts = json.loads(line)
        return answer

    async def end(self) -> None:
        """By the end of its stdin; killed if that does not suffice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWERS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def churn(processes: list[Process], seconds: float) -> None:
    """Let the clients come and go; tell what is held meanwhile. The first process is the server."""
    for one in processes[1:]:
        await one.ask("go")
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, EVERY))
        show(f"{seconds - max(0.0, until - time.monotonic()):5.0f} s", await measure(processes))
    for one in processes[1:]:
        for problem in (await one.ask("rest"))["problems"]:
            raise RuntimeError(f"{one.name}: {problem}")


async def measure(processes: list[Process]) -> dict[str, Facts]:
    return {one.name: await one.ask("measure") for one in processes}


def missing(
    before: dict[str, Facts], after: dict[str, Facts], more_memory: float = MORE_MEMORY
) -> list[str]:
    """What did not come back, by name."""
    left = []
    for name, then in before.items():
        now = after[name]
        left += [
            f"{what} of {name}: {then[what]} before, {now[what]} after"
            for what in COUNTED
            if now.get(what, 0) > then.get(what, 0)
        ]
        if now["memory"] > then["memory"] + more_memory:
            left.append(f"memory of {name}: {then['memory']} MiB before, {now['memory']} after")
    return left


async def settled(
    processes: list[Process], before: dict[str, Facts], more_memory: float
) -> dict[str, Facts]:
    """What is held once all has come back, or after ``QUIET`` seconds."""
    after = await measure(processes)
    for _ in range(QUIET):
        if not missing(before, after, more_memory):
            break
        await asyncio.sleep(1)
        after = await measure(processes)
    return after


def show(when: str, held: dict[str, Facts]) -> None:
    for name, facts in held.items():
        shown = ", ".join(f"{what} {facts[what]}" for what in SHOWN if what in facts)
        print(f"{when}  {name}: {shown}", flush=True)


def told(held: dict[str, Facts]) -> None:
    """What the clients did."""
    done: Counter[str] = Counter()
    for facts in held.values():
        done.update(facts.get("done", {}))
    for what, count in sorted(done.items()):
        print(f"{count:8}  {what}")


async def run(seconds: float, options: Sequence[str] = ()) -> int:
    more_memory = math.inf if PLAIN in options else MORE_MEMORY
    server, hello = await Process.start("server", 0, [], options)
    processes = [server]
    try:
        for number in range(CLIENTS):
            clients, _ = await Process.start("clients", number, hello["ports"], options)
            processes.append(clients)
        await churn(processes, min(WARM_UP, seconds / 2))
        await asyncio.sleep(REST)
        before = await measure(processes)
        show("before", before)
        await churn(processes, seconds)
        after = await settled(processes, before, more_memory)
        show("after", after)
    finally:
        for one in reversed(processes):
            await one.end()
    told(after)
    left = missing(before, after, more_memory)
    for what in left:
        print(f"did not come back: {what}")
    return 1 if left else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long; 300")
    parser.add_argument(PLAIN, action="store_true", help="the control: grpc.aio without seawall")
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given.seconds, [PLAIN] if given.plain else [])))


if __name__ == "__main__":
    main()
