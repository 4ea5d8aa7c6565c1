"""One process of the benchmark: a row's client, or servers of one kind. Started by ``fleet``.

It reads one JSON object a line on stdin, answers with one on stdout, and ends when stdin does, so
it never outlives who started it. Between commands it waits for its pipe and its sockets only.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import IO, Any

from google.protobuf.wrappers_pb2 import StringValue

from bench import clients, servers
from bench.echo import TEXT, EchoStub

TIMEOUT = 20.0
"""Seconds that each call has, in every row: a deadline is part of a call's cost."""
LEAD = 20
"""Calls before a burst that aren't measured: the others' turns have emptied the caches."""

Command = dict[str, Any]
Handler = Callable[[Command], Awaitable[dict[str, Any]]]


def cpu() -> float:
    """Seconds of CPU, user and system, that this process has used in all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def send(stub: EchoStub, calls: int, concurrency: int) -> None:
    """Make ``calls`` calls, ``concurrency`` at a time, each lane one after the other."""
    request = StringValue(value=TEXT)

    async def lane(count: int) -> None:
        say = stub.Say
        for _ in range(count):
            await say(request, timeout=TIMEOUT)

    share, rest = divmod(calls, concurrency)
    if concurrency == 1:
        await lane(calls)
        return
    async with asyncio.TaskGroup() as group:
        for index in range(concurrency):
            group.create_task(lane(share + (index < rest)))


def client(stubs: Sequence[EchoStub], flush: Callable[[], int]) -> Handler:
    """Answers ``{"stub", "calls", "concurrency"}`` with the burst's cost, as ``fleet.Burst``.

    The CPU includes the export of the burst's spans; the wall time ends with the last answer.
    """

    async def burst(command: Command) -> dict[str, Any]:
        asked = cpu()
        stub, concurrency = stubs[command["stub"]], command["concurrency"]
        await send(stub, LEAD, concurrency)
        spans = flush()
        used, began = cpu(), time.perf_counter()
        await send(stub, command["calls"], concurrency)
        wall = time.perf_counter() - began
        spans = flush() - spans
        return {"asked": asked, "before": used, "after": cpu(), "wall": wall, "spans": spans}

    return burst


def server(running: Sequence[servers.Serving], flush: Callable[[], int]) -> Handler:
    """Answers anything with the CPU, calls and spans so far."""

    async def usage(command: Command) -> dict[str, Any]:
        spans = flush()
        return {"cpu": cpu(), "calls": [one.calls() for one in running], "spans": spans}

    return usage


def tracing(sampling: float | None) -> Callable[[], int]:
    if sampling is None:
        return lambda: 0
    from bench.tracing import set_up

    return set_up(sampling)


async def serve_commands(answers: IO[str], hello: dict[str, Any], handler: Handler) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    print(json.dumps(hello), file=answers, flush=True)
    while line := await commands.readline():
        print(json.dumps(await handler(json.loads(line))), file=answers, flush=True)


async def run(spec: dict[str, Any], answers: IO[str]) -> None:
    """Be the process that ``spec`` describes: side, kind, sampling, count or addresses."""
    flush = tracing(spec["sampling"])
    async with AsyncExitStack() as stack:
        if spec["side"] == "server":
            running = await stack.enter_async_context(servers.several(spec["kind"], spec["count"]))
            hello = {
                "tcp": [one.address for one in running],
                "unix": [one.socket for one in running if one.socket],
            }
            await serve_commands(answers, hello, server(running, flush))
            return
        # One list of addresses for each stub: a row's client has one, the servers' driver several.
        open_stub = clients.KINDS[spec["kind"]]
        stubs = [await stack.enter_async_context(open_stub(group)) for group in spec["addresses"]]
        await serve_commands(answers, {}, client(stubs, flush))


def main() -> None:
    # Ctrl-C reaches the whole group of processes; the coordinator ends us by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only answers may go where the coordinator reads: a library's print goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(run(json.loads(sys.argv[1]), answers))


if __name__ == "__main__":
    main()
