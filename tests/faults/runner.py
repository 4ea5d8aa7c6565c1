"""Plays rows a few at a time, each in a process of its own with all that it starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.faults.rows import SCENARIOS
from tests.faults.scenario import Result, Scenario

ROOT = Path(__file__).parents[2]
SET_UP = 60.0
"""Seconds that a row may take beside its fault."""
CLEAN_UP = 15.0
"""Seconds that a row has to put away what it started when it is stopped."""


async def run(names: Sequence[str], jobs: int, tell: Callable[[Result], None]) -> list[Result]:
    """Play these rows, at most ``jobs`` at a time; ``tell`` hears of each as it ends."""
    free = asyncio.Semaphore(jobs)
    longest_first = sorted((SCENARIOS[name] for name in names), key=lambda s: -s.seconds)

    async def one(scenario: Scenario) -> Result:
        async with free:
            result = await _played(scenario)
        tell(result)
        return result

    results = {r.name: r for r in await asyncio.gather(*(one(s) for s in longest_first))}
    return [results[name] for name in names]


async def _played(scenario: Scenario) -> Result:
    # What somebody has set for his own services is not for these.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SEAWALL_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults", "--row", scenario.name,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # So that whatever it starts can be ended with it.
        start_new_session=True,
    )  # fmt: skip
    talk = asyncio.create_task(process.communicate())
    try:
        done, _ = await asyncio.wait((talk,), timeout=scenario.seconds + SET_UP)
        if not done:
            process.send_signal(signal.SIGINT)
            await asyncio.wait((talk,), timeout=CLEAN_UP)
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        await asyncio.wait((talk,), timeout=CLEAN_UP)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    out, err = await talk
    try:
        return Result(**json.loads(out))
    except ValueError:
        result = Result(name=scenario.name, fault=scenario.fault, within=scenario.within)
        result.problems = [f"the row ended without a result (exit status {process.returncode})"]
        result.story = err.decode(errors="replace").splitlines()[-40:]
        return result
