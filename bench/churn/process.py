"""One process of the churn: the server, or clients. Started by ``bench.churn``.

As ``bench.worker`` it answers each line on stdin with one on stdout and ends with its stdin.
Commands: ``go`` (clients: begin), ``rest`` (clients: stop), ``measure``.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.churn.lanes import lane
from bench.worker import serve_commands
from tests.echo import EchoService
from tests.hostile import DefEcho

LANES = 8
"""Callers at a time in each process of clients."""

Facts = dict[str, Any]


def measured() -> dict[str, int]:
    """What this process holds. Memory: MiB resident, once what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "memory": resident * os.sysconf("SC_PAGE_SIZE") >> 20,
    }


class Clients:
    """Lanes that come and go until they are told to rest."""

    def __init__(self, ports: list[int], seed: int) -> None:
        self._ports = ports
        self._seed = seed
        self._lanes: list[asyncio.Task[None]] = []
        self._done: Counter[str] = Counter()

    async def command(self, command: Facts) -> Facts:
        if command["do"] == "go":
            seeds = range(self._seed * LANES, (self._seed + 1) * LANES)
            self._lanes = [
                asyncio.create_task(lane(self._ports, seed, self._done)) for seed in seeds
            ]
        elif command["do"] == "rest":
            for each in self._lanes:
                each.cancel()
            ended = await asyncio.gather(*self._lanes, return_exceptions=True)
            self._lanes = []
            problems = [repr(one) for one in ended if isinstance(one, Exception)]
            return {"problems": problems}
        return {**measured(), "done": dict(self._done)}


def of_server(services: list[Any]) -> Callable[[Facts], Any]:
    """Answers anything with what the server holds, and the calls that it still has."""

    async def command(command: Facts) -> Facts:
        servers = [service.server for service in services]
        held = sum(one.meter.in_flight + one.admission.waiting() for one in servers)
        return {**measured(), "calls": held}

    return command


async def run(answers: Any, side: str, ports: list[int], seed: int) -> None:
    async with AsyncExitStack() as stack:
        if side == "clients":
            await serve_commands(answers, {}, Clients(ports, seed).command)
            return
        settings: Facts = {"registry": "memory://churn", "host": "127.0.0.1", "unix_socket": False}
        services = [kind(**settings, shedding=False) for kind in (EchoService, DefEcho)]
        for service in services:
            await stack.enter_async_context(service)
        hello = {"ports": [service.port for service in services]}
        await serve_commands(answers, hello, of_server(services))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # what strangers do wrong
    side, seed, *ports = sys.argv[1:]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(run(answers, side, [int(port) for port in ports], int(seed)))


if __name__ == "__main__":
    main()
