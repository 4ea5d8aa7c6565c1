"""Servers under 2 and 5 times the load that they can carry: ``python -m bench.overload``.

Each row is a server process and a client process. What a bare server answers to a closed loop is
the peak; then load comes in an open loop at a multiple of it, and goodput counts what is
answered within its deadline, latency counted from the moment at which a call was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.overload.client import CLASSES
from bench.peers.process import Process

ROWS: Final = {
    "bare": ("bare", "bare"),
    "limited": ("limited", "bare"),
    "seawall server": ("seawall", "bare"),
    "seawall": ("seawall", "seawall"),
}
"""Name: the server and its client."""
WORKS: Final = ("free", "bound")
_PEAK_LANES: Final = 16
_CRITICAL: Final = 0.15
"""Of the calls: at 5 times the load that is three quarters of what can be carried."""
_BEFORE, _AFTER = 3.0, 6.0
"""Seconds of 0.7 times the peak before and after the overload."""
_CALM: Final = 0.7
_RECOVERED: Final = 0.99


@dataclass(frozen=True)
class Result:
    """What one row did in one overload."""

    work: str
    times: float
    row: str
    goodput: float
    """Of the peak, while the overload lasts, its first second left out."""
    critical: float
    """Of the critical calls in that time, answered in time."""
    sheddable: float
    p99: float
    """Seconds, of those that were answered."""
    recovery: float | None
    """Seconds after the end of the load until 99 % of a second's calls are answered; None = not
    within those that were watched."""
    memory: float
    """MiB by which the server grew."""
    server_cpu: float
    """Cores."""
    client_cpu: float


async def peak(work: str, seconds: float) -> float:
    """Answers a second of a bare server to a closed loop."""
    server = await Process.launch("bench.overload.server", "server", {"kind": "bare", "work": work})
    try:
        spec = {"kind": "bare", "address": server.hello["address"]}
        client = await Process.launch("bench.overload.client", "client", spec)
        try:
            await client.ask({"lanes": _PEAK_LANES, "seconds": 1.0})
            answer = await client.ask({"lanes": _PEAK_LANES, "seconds": seconds})
            return float(answer["rate"])
        finally:
            await client.stop()
    finally:
        await server.stop()


async def play(work: str, times: float, row: str, top: float, options: Any) -> Result:
    """One row through one overload."""
    kinds = ROWS[row]
    server = await Process.launch(
        "bench.overload.server", f"{kinds[0]} server", {"kind": kinds[0], "work": work}
    )
    try:
        spec = {"kind": kinds[1], "address": server.hello["address"]}
        client = await Process.launch("bench.overload.client", f"{kinds[1]} client", spec)
        try:
            return await _phases(server, client, work, times, row, top, options)
        finally:
            await client.stop()
    finally:
        await server.stop()


async def _phases(
    server: Process, client: Process, work: str, times: float, row: str, top: float, options: Any
) -> Result:
    def load(rate: float, seconds: float) -> dict[str, Any]:
        return {
            "rate": rate, "seconds": seconds, "critical": _CRITICAL, "seed": options.seed,
            "deadline": options.deadline,
        }  # fmt: skip

    limit = options.seconds + 60
    await client.ask(load(_CALM * top, _BEFORE), limit)
    before = await server.ask({})
    over = await client.ask(load(times * top, options.seconds), limit)
    after = await server.ask({})
    calm = await client.ask(load(_CALM * top, _AFTER), limit)
    counted = [record for record in over["records"] if record[0] >= 1.0]
    good = [r for r in counted if r[2] == "OK" and r[3] <= options.deadline]
    taken = sorted(record[3] for record in good)
    by_class = [
        sum(r[1] == which for r in good) / max(1, sum(r[1] == which for r in counted))
        for which in range(len(CLASSES))
    ]
    return Result(
        work, times, row,
        goodput=len(good) / (options.seconds - 1.0) / top,
        critical=by_class[0],
        sheddable=by_class[1],
        p99=taken[int(len(taken) * 0.99)] if taken else float("nan"),
        recovery=_recovery(calm["records"], options.deadline),
        memory=(after["memory"] - before["memory"]) / 2**20,
        server_cpu=(after["cpu"] - before["cpu"]) / options.seconds,
        client_cpu=over["cpu"] / options.seconds,
    )  # fmt: skip


def _recovery(records: Sequence[Sequence[Any]], deadline: float) -> float | None:
    """The first moment from which on each half second has 99 % of its calls answered."""
    halves = int(_AFTER * 2)
    good, all_ = [0] * (halves + 1), [0] * (halves + 1)
    for at, _, code, took in records:
        all_[int(at * 2)] += 1
        good[int(at * 2)] += code == "OK" and took <= deadline
    well = [
        not total or found / total >= _RECOVERED for found, total in zip(good, all_, strict=True)
    ]
    bad = [half for half in range(halves) if not well[half]]
    last = (bad[-1] + 1) / 2 if bad else 0.0
    return last if last < _AFTER else None


def line(result: Result) -> str:
    recovery = "never" if result.recovery is None else f"{result.recovery:.1f} s"
    return (
        f"| {result.work} | {result.times:g}x | {result.row} | {result.goodput:.0%} "
        f"| {result.critical:.1%} | {result.sheddable:.1%} | {result.p99 * 1000:.0f} ms "
        f"| {recovery} | {result.memory:+.0f} MiB | {result.server_cpu:.2f} "
        f"| {result.client_cpu:.2f} |"
    )


HEAD: Final = (
    "| handlers | load | server, client | goodput of peak | critical | sheddable | p99 | recovery "
    "| memory | server CPU | client CPU |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


async def run(options: Any) -> None:
    results = []
    print(HEAD)
    for work in options.works:
        top = await peak(work, 4.0)
        print(f"{work}: peak {top:.0f} a second", file=sys.stderr)
        for times in options.times:
            for row in options.rows:
                result = await play(work, times, row, top, options)
                results.append(vars(result))
                print(line(result), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def _among(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return read


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--works", type=_among(WORKS), default=list(WORKS), help="free, bound")
    parser.add_argument("--times", type=_numbers, default=[2.0, 5.0], help="times the peak (2,5)")
    parser.add_argument("--rows", type=_among(list(ROWS)), default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=30.0, help="of overload (30)")
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds of each call (0.5)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (1)")
    parser.add_argument("--json", type=Path, default=None, help="a file for the figures")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
