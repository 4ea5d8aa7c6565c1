"""What seawall costs a call, against its peers: ``python -m bench.overhead``.

Clients and servers are processes of their own, started up front and kept. The rows take turns, a
burst of calls each, in an order shuffled anew in every round; each ratio is taken within its
round, so that whatever slows the machine slows both of its sides. docs/performance.md says more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import imports, machine
from bench.fleet import WorkerError
from bench.report import Run, as_json, as_text
from bench.rounds import Bench
from bench.rows import IMPORT, NAMES, Row, chosen

RESULTS = Path(__file__).resolve().parent / "results" / "overhead.json"
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """On a terminal one line that rewrites itself; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def done(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def measure(options: argparse.Namespace, progress: Progress) -> Run:
    """Everything that ``options`` ask for. Raises ``WorkerError`` if a base row fails."""
    rows, with_imports = options.only
    run = Run(machine.facts(), {
        "calls": options.calls, "rounds": options.rounds, "fleets": options.fleets,
        "seed": options.seed, "concurrency": options.concurrency,
        "import_rounds": options.imports,
    })  # fmt: skip
    began, stolen = time.monotonic(), machine.stolen()
    if rows:
        await Bench(run, rows, progress).measure(options.rounds, options.fleets)
    if with_imports:
        try:
            run.imports = await imports.measure(options.imports, progress)
        except WorkerError as failure:
            run.skipped[IMPORT] = str(failure)
    run.method["seconds"] = round(time.monotonic() - began, 1)
    run.machine["load_after"] = machine.load()
    run.machine["seawall_changed"] = machine.sources() != run.machine["seawall_sources"]
    after = machine.stolen()
    run.machine["stolen_seconds"] = None if stolen is None or after is None else after - stolen
    return run


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def lanes(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


def selection(text: str | None) -> tuple[tuple[Row, ...], bool]:
    try:
        return chosen(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    add = parser.add_argument
    add("--calls", type=positive, default=100, help="calls in a burst (100)")
    add("--rounds", type=positive, default=96, help="rounds that count, in all (96)")
    add("--fleets", type=positive, default=6,
        help="times that all processes are started anew, the rounds shared out (6)")  # fmt: skip
    add("--concurrency", type=lanes, default=[1, 16], help="calls under way at a time (1,16)")
    add("--imports", type=positive, default=15, help="rounds of the import row (15)")
    add("--seed", type=int, default=1, help="of the order within a round (1)")
    add("--only", type=selection, default=selection(None), metavar="ROW,ROW",
        help="some rows, with their base rows, of: " + ", ".join(NAMES))  # fmt: skip
    add("--json", type=Path, default=RESULTS, metavar="FILE",
        help="where the figures go (bench/results/overhead.json)")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 whatever the figures are; 1 if a base row could not be measured; 130 after Ctrl-C."""
    options, progress = arguments(argv), Progress()
    try:
        run = asyncio.run(measure(options, progress))
    except WorkerError as failure:
        progress.done()
        print(f"nothing to compare with: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.done()
        return 130
    progress.done()
    print(as_text(run))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(run), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
