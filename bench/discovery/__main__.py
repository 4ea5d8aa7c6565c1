"""How fast, how cheaply and how calmly instances are found: ``python -m bench.discovery``.

Against a real etcd, and with real processes where it is about them. docs/performance.md says more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.discovery import calls, cost, herd, scale, ways
from bench.discovery.results import Part
from bench.discovery.sizes import FULL, SHORT, Size
from bench.fleet import WorkerError
from bench.overhead import Progress
from seawall.errors import SeawallError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "discovery.json"
FAILURES = (AssertionError, OSError, SeawallError, ValueError, WorkerError, ExceptionGroup)
"""What a part may come to; any other error is a mistake of the benchmark's own."""
Measure = Callable[[Size, Progress], Awaitable[Part]]
PARTS: dict[str, tuple[Measure, str]] = {
    "calls": (calls.comings_and_goings, "register to first call, goodbye to last call"),
    "crash": (calls.crashes, "kill -9 to last call"),
    "cost": (cost.updates, "an update in the client, by the number of instances"),
    "connect": (cost.connections, "from nothing to all instances connected"),
    "listing": (scale.listing, "the first listing, from etcd"),
    "churn": (scale.churn, "changes with very many watches open"),
    "ways": (ways.ways, "which watch: a stream a service, one for all, the whole namespace"),
    "herd": (herd.herd, "etcd goes and comes back; keep-alives over time"),
}


async def measure(
    names: Sequence[str], size: Size, progress: Progress, show: Callable[[str], None]
) -> dict[str, Any]:
    """Run parts one after the other, and show each as it ends; all figures, for tools.

    A part that fails is left out, and the figures say why.
    """
    facts, began, stolen = machine.facts(), time.monotonic(), machine.stolen()
    parts: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for name in names:
        started = time.monotonic()
        try:
            part = await PARTS[name][0](size, progress)
        except FAILURES as problem:
            failures[name] = "; ".join(_words(problem))
            show(f"{name}: failed: {failures[name]}")
            continue
        seconds = round(time.monotonic() - started, 1)
        parts[name] = {"seconds": seconds, **part.figures}
        show(f"{part.text}\n\n({seconds:g} s)")
    facts["load_after"] = machine.load()
    facts["seawall_changed"] = machine.sources() != facts["seawall_sources"]
    after = machine.stolen()
    facts["stolen_seconds"] = None if stolen is None or after is None else after - stolen
    return {
        "machine": facts, "size": asdict(size), "parts": parts, "failures": failures,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _words(problem: BaseException) -> list[str]:
    """What went wrong, in a group of tasks perhaps several things."""
    if isinstance(problem, BaseExceptionGroup):
        return [words for each in problem.exceptions for words in _words(each)]
    return [str(problem) or type(problem).__name__]


def selection(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        problem = f"no part is named {', '.join(unknown)}" if unknown else "no part is named"
        raise argparse.ArgumentTypeError(f"{problem}; the parts are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    told = "\n".join(f"  {name:9}{words}" for name, (_, words) in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench.discovery", description=__doc__, epilog=f"parts:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", type=selection, default=list(PARTS), metavar="PART,PART", help="some parts")
    add("--short", action="store_true", help="all parts within half a minute, to try things")
    add("--json", type=Path, default=RESULTS, metavar="FILE",
        help="where the figures go (bench/results/discovery.json)")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 whatever the figures are; 1 if a part could not be measured; 130 after Ctrl-C."""
    options, progress = arguments(argv), Progress()

    def show(text: str) -> None:
        progress.done()
        print(text, end="\n\n", flush=True)

    size = SHORT if options.short else FULL
    try:
        figures = asyncio.run(measure(options.only, size, progress, show))
    except KeyboardInterrupt:
        progress.done()
        return 130
    show(_facts(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if figures["failures"] else 0


def _facts(figures: dict[str, Any]) -> str:
    facts = figures["machine"]
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores; {facts['kernel']}; {facts['python']}",
        f"load (1, 5, 15 min) before {facts['load_before']}, after {facts['load_after']}; "
        f"{figures['seconds']:.0f} s",
    ]
    if facts["seawall_changed"]:
        lines.append("note: seawall's code changed during the run")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
