"""One process of the churn: the server, or clients. Started by ``bench.churn``.

Arguments: ``server`` or ``clients``, the seed, the server's ports, and ``bench.churn``'s options.
As ``bench.worker`` it answers each line on stdin with one on stdout and ends with its stdin.
Commands: ``go`` (clients: begin), ``rest`` (clients: stop), ``measure``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from grpc import aio

from bench.churn.lanes import lane
from bench.churn.memory import memory
from bench.worker import serve_commands
from seawall.server import arenas
from tests.echo import EchoService
from tests.hostile import DefEcho
from tests.protos import echo_pb2_grpc as pb_grpc

LANES = 8
"""Callers at a time in each process of clients."""

Facts = dict[str, Any]


def measured() -> dict[str, int]:
    """What this process holds."""
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        **memory(),
    }


class Clients:
    """Lanes that come and go until they are told to rest."""

    def __init__(self, ports: list[int], seed: int, *, plain: bool) -> None:
        self._ports = ports
        self._seed = seed
        self._plain = plain
        self._lanes: list[asyncio.Task[None]] = []
        self._done: Counter[str] = Counter()

    async def command(self, command: Facts) -> Facts:
        if command["do"] == "go":
            seeds = range(self._seed * LANES, (self._seed + 1) * LANES)
            self._lanes = [
                asyncio.create_task(lane(self._ports, seed, self._done, plain=self._plain))
                for seed in seeds
            ]
        elif command["do"] == "rest":
            for each in self._lanes:
                each.cancel()
            ended = await asyncio.gather(*self._lanes, return_exceptions=True)
            self._lanes = []
            problems = [repr(one) for one in ended if isinstance(one, Exception)]
            return {"problems": problems}
        return {**measured(), "done": dict(self._done)}


class PlainEcho(EchoService):
    """The same handlers without seawall: only those are registered, on servers of gRPC's own."""

    address = ""


async def of_plain(stack: AsyncExitStack) -> tuple[list[int], Callable[[Facts], Any]]:
    """Two servers of plain grpc.aio: the control."""
    ports = []
    for _ in range(2):
        server = aio.server()
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        pb_grpc.add_EchoServicer_to_server(PlainEcho(), server)
        await server.start()
        stack.push_async_callback(server.stop, None)

    async def command(command: Facts) -> Facts:
        return measured()

    return ports, command


async def of_seawall(stack: AsyncExitStack) -> tuple[list[int], Callable[[Facts], Any]]:
    """Its services; answers anything with what the process holds, and the calls it still has."""
    settings: Facts = {"registry": "memory://churn", "host": "127.0.0.1", "unix_socket": False}
    services: list[Any] = [kind(**settings, shedding=False) for kind in (EchoService, DefEcho)]
    for service in services:
        await stack.enter_async_context(service)

    async def command(command: Facts) -> Facts:
        servers = [service.server for service in services]
        held = sum(one.meter.in_flight + one.admission.waiting() for one in servers)
        return {**measured(), "calls": held}

    return [service.port for service in services], command


async def run(answers: Any, options: argparse.Namespace) -> None:
    if options.side == "clients":
        clients = Clients(options.ports, options.seed, plain=options.plain)
        await serve_commands(answers, {}, clients.command)
        return
    async with AsyncExitStack() as stack:
        ports, command = await (of_plain if options.plain else of_seawall)(stack)
        await serve_commands(answers, {"ports": ports}, command)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # what strangers do wrong
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    parser.add_argument("seed", type=int)
    parser.add_argument("ports", type=int, nargs="*")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    arenas.keep_few()  # as the process of a service does
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(run(answers, options))


if __name__ == "__main__":
    main()
