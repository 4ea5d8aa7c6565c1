"""What seawall's sync stack costs a call, against gRPC's: ``python -m bench.sync``.

As ``bench.overhead`` does it: each row is a process of its own, the rows take turns with bursts of
calls in an order shuffled anew in every round, and a ratio is taken within its round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.figures import Figures, Series
from bench.fleet import ECHOES, ROOT, Worker, environment

TIMEOUT: Final = 20.0
LEAD: Final = 20
"""Calls before a burst that aren't measured."""
BASES: Final = {"blocking": "bare", "future": "bare-future"}


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    way: str
    """``blocking`` calls, or ``future`` and its result."""
    endpoints: int
    idempotent: bool | None
    """None = bare gRPC; True: each attempt has a limit, as by default for such methods."""
    what: str


ROWS: Final = (
    Row("bare", "blocking", 1, None, "grpc stub"),
    Row("bare-again", "blocking", 1, None, "the same once more"),
    Row("seawall-one", "blocking", 1, True, "seawall.sync, 1 endpoint"),
    Row("seawall", "blocking", 3, True, "seawall.sync, 3 endpoints"),
    Row("seawall-plain", "blocking", 3, False, "the same, method not idempotent"),
    Row("bare-future", "future", 1, None, "grpc stub, future().result()"),
    Row("seawall-one-future", "future", 1, True, "seawall.sync, 1 endpoint, future().result()"),
    Row("seawall-future", "future", 3, True, "seawall.sync, 3 endpoints, future().result()"),
)


def stub_of(row: Row, addresses: Sequence[str]) -> Any:
    import grpc

    from bench.clients import RETRIES
    from bench.echo import EchoStub

    if row.idempotent is None:
        return EchoStub(grpc.insecure_channel(addresses[0]))  # type: ignore[arg-type]
    from seawall import sync

    config = {
        "methodConfig": [{**RETRIES["methodConfig"][0], "seawall": {"idempotent": row.idempotent}}]
    }
    registry = "static://" + ",".join(addresses[: row.endpoints])
    return EchoStub(sync.connect(registry, service_config=config))  # type: ignore[arg-type]


def lane_of(row: Row, stub: Any) -> Callable[[int], None]:
    """Makes so many calls, one after the other."""
    from google.protobuf.wrappers_pb2 import StringValue

    from bench.echo import TEXT

    request, say = StringValue(value=TEXT), stub.Say

    def block(count: int) -> None:
        for _ in range(count):
            say(request, timeout=TIMEOUT)

    def wait(count: int) -> None:
        for _ in range(count):
            say.future(request, timeout=TIMEOUT).result()

    return block if row.way == "blocking" else wait


def send(lane: Callable[[int], None], calls: int, threads: int) -> None:
    if threads == 1:
        lane(calls)
        return
    share, rest = divmod(calls, threads)
    running = [
        threading.Thread(target=lane, args=(share + (index < rest),)) for index in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def serve(row: Row, addresses: Sequence[str]) -> None:
    """Be the process of a row: a command a line on stdin, an answer on stdout."""
    from bench.worker import cpu

    lane = lane_of(row, stub_of(row, addresses))
    lane(1)
    for line in sys.stdin:
        command = json.loads(line)
        calls, threads = command["calls"], command["threads"]
        send(lane, LEAD, threads)
        before, began = cpu(), time.perf_counter()
        send(lane, calls, threads)
        wall, used = time.perf_counter() - began, cpu() - before
        print(json.dumps([used / calls * 1e6, wall / calls * 1e6]), flush=True)


class Client:
    """A row's process."""

    def __init__(self, row: Row, addresses: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sync", "--row", row.name, *addresses],
            cwd=ROOT, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def burst(self, calls: int, threads: int) -> list[float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(
            json.dumps({"calls": calls, "threads": threads}), file=self._process.stdin, flush=True
        )
        answer: list[float] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        self._process.communicate(timeout=20)


def measure(addresses: Sequence[str], options: argparse.Namespace) -> dict[tuple[str, int], Series]:
    drawn = random.Random(options.seed)
    series: dict[tuple[str, int], Series] = {}
    for fleet in range(options.fleets):
        clients = {row.name: Client(row, addresses) for row in ROWS}
        try:
            for number in range(options.rounds // options.fleets + 1):
                for threads in options.threads:
                    names = list(clients)
                    drawn.shuffle(names)
                    for name in names:
                        cpu, wall = clients[name].burst(options.calls, threads)
                        if number == 0:
                            continue  # warms up
                        found = series.setdefault((name, threads), Series())
                        found.fleet.append(fleet)
                        found.cpu.append(cpu)
                        found.wall.append(wall)
                print(f"fleet {fleet + 1}, round {number}", file=sys.stderr)
        finally:
            for client in clients.values():
                client.stop()
    return series


def told(series: dict[tuple[str, int], Series], threads: int) -> list[str]:
    lines = [f"{threads} thread(s): us of CPU a call, ratio (95 %); us of wall a call, ratio"]
    for row in ROWS:
        found = Figures.of(series[row.name, threads], series[BASES[row.way], threads])
        cpu, ratio = found.cpu, found.cpu_ratio
        lines.append(
            f"  {row.name:18} {cpu.median:6.0f}  x{ratio.median:.2f} "
            f"({ratio.low:.2f}-{ratio.high:.2f})  {found.wall.median:6.0f}  "
            f"x{found.wall_ratio.median:.2f}   {row.what}"
        )
    return lines


async def run(options: argparse.Namespace) -> None:
    servers = await Worker.start("echo servers", ECHOES)
    try:
        series = await asyncio.to_thread(measure, servers.hello["tcp"], options)
    finally:
        await servers.stop()
    for threads in options.threads:
        print("\n".join(told(series, threads)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    add = parser.add_argument
    add("--calls", type=int, default=160, help="calls in a burst (160)")
    add("--rounds", type=int, default=48, help="rounds that count, in all (48)")
    add("--fleets", type=int, default=4, help="times that all clients are started anew (4)")
    add("--threads", type=int, nargs="*", default=[1, 16], help="threads that call (1 16)")
    add("--seed", type=int, default=1, help="of the order within a round (1)")
    add("--row", help=argparse.SUPPRESS)
    options, addresses = parser.parse_known_args()
    if options.row is None:
        asyncio.run(run(options))
    else:
        serve(next(row for row in ROWS if row.name == options.row), addresses)


if __name__ == "__main__":
    main()
