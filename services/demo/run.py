"""One run of the demo, from an empty directory to the report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seawall.errors import SeawallError
from seawall.registry import open_registry
from services import store
from services.demo import SIDES, report, trace
from services.demo.faults import FULL, Server, Stage, perform
from services.demo.fleet import DemoError, Fleet
from services.demo.show import Lines, display
from services.demo.sides import Side

BUSY: Final = 0.85
"""Share of the machine above which both sides measure the machine, and not the faults."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    seconds: float
    rate: float
    json: Path | None
    registry: str


@dataclass
class Result:
    """What a run left behind."""

    records: dict[str, list[dict[str, Any]]]
    windows: list[report.Window]
    charges: Mapping[str, int]
    spans: list[trace.Span]
    cpu: float
    """Share of the machine that was busy while the load ran, from 0 to 1; others' work counts."""


async def run(options: Options, url: str, server: Server | None, directory: Path) -> int:
    """Run the demo in ``directory``; return its exit status. Raises ``DemoError``
    or a ``SeawallError`` if it can't be brought to its end."""
    registry = open_registry(url, snapshots=False)
    with display() as lines:
        try:
            async with Fleet(directory, registry) as fleet:
                lines.note(f"starting {len(fleet.members)} instances; registry {url}")
                await fleet.ready()
                lines.note("every instance is found; warming up both sides")
                result = await _under_load(options, fleet, server, lines)
        finally:
            await registry.close()
    return _conclude(options, result)


async def _under_load(
    options: Options, fleet: Fleet, server: Server | None, lines: Lines
) -> Result:
    async with contextlib.AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(
                Side(name, fleet.directory).running(options.rate, fleet.environment())
            )
            for name in SIDES
        ]
        await asyncio.gather(*(side.warm() for side in sides))
        lines.note(f"each side: {options.rate:g} calls a second, whatever happens\n")
        start = time.monotonic() + 0.2
        stage = Stage(fleet, server, options.seconds / FULL, start, lines.say)
        busy = _busy()
        try:
            async with asyncio.TaskGroup() as tasks:
                for side in sides:
                    tasks.create_task(side.go(start, lines))
                lines.begin()
                await perform(stage)
                cpu = _share(busy, _busy())
                told = await asyncio.gather(*(side.stop() for side in sides))
        except* (DemoError, SeawallError) as errors:
            raise errors.exceptions[0] from None
    return Result(
        records={side.name: records for side, records in zip(sides, told, strict=True)},
        windows=stage.windows,
        charges=store.charges(fleet.directory / store.CHARGES),
        spans=trace.read(fleet.directory / "spans"),
        cpu=cpu,
    )


def _busy() -> tuple[float, float]:
    """Ticks that the machine has been busy, and all ticks, since it started."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return 0.0, 0.0
    ticks = [float(field) for field in fields]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # less idle and waiting for disks


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total else 0.0


def _conclude(options: Options, result: Result) -> int:
    """Print the report; say whether the promise was kept."""
    sides = {
        side: report.figures(records, result.charges, side)
        for side, records in result.records.items()
    }
    print(f"\n{report.by_fault(result.windows, result.records)}")
    print(f"\n{report.comparison(sides['plain'], sides['seawall'])}")
    print(f"\nthe machine was {result.cpu:.0%} busy; the two sides shared it")
    if result.cpu > BUSY:
        print("that is too busy to compare anything: try a lower --rate, or a quieter machine")
    lost = [record for record in result.records["seawall"] if record["code"] != "OK"]
    if lost:
        print(f"\nthe first of seawall's failures, in its own words:\n{lost[0]['story']}")
    told = trace.most_telling(result.spans)
    if told:
        print(f"\none checkout on seawall's side, traced through every process:\n{told}")
    broken = report.verdict(sides["seawall"])
    if options.json:
        extra = {"busy": result.cpu, "trace": told, "lost": lost}
        document = report.as_json(sides, result.windows, extra)
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print("\n" + ("\n".join(f"FAILED: {line}" for line in broken) or "seawall kept its promise"))
    return 1 if broken else 0
