"""``python -m tests.faults``: play the faults of etcd and print what came of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.faults import table
from tests.faults.row import play
from tests.faults.rows import SCENARIOS
from tests.faults.runner import run
from tests.faults.scenario import Result, verdict

JOBS = 6
"""Rows at a time. They wait most of the time; two cores do for these."""


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if unknown := set(options.names) - SCENARIOS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}; see --help")
    if options.write and options.names:
        parser.error("--write wants all rows: the table on the page is replaced as a whole")
    if options.row:
        sys.stdout.write(json.dumps(asdict(asyncio.run(play(SCENARIOS[options.row])))))
        return 0
    started = time.monotonic()
    results = asyncio.run(run(options.names or list(SCENARIOS), options.jobs, _tell))
    _print(f"\n{table.markdown(results)}\n\n{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    if options.write:
        table.write(options.write, results)
    return int(any(verdict(result) for result in results))


def _tell(result: Result) -> None:
    wrong = verdict(result)
    _print(f"{result.name:24} {'; '.join(wrong) or 'ok'}")
    if wrong:
        _print(*(f"    {line}" for line in result.story))


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Play the faults of etcd on real processes and measure what they do to a fleet."
        " Exit status 1 if anything was lost, failed, late or busy.",
    )
    known = f"all by default: {', '.join(SCENARIOS)}"
    parser.add_argument("names", nargs="*", metavar="row", help=known)
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"rows at a time, default {JOBS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into that page")
    parser.add_argument("--row", choices=SCENARIOS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
