"""Plays one row, in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.faults.scenario import Result, Scenario
from tests.faults.stage import Stage


async def play(scenario: Scenario) -> Result:
    """From an empty machine to a result. What goes wrong on the way is a problem of the result."""
    with tempfile.TemporaryDirectory(prefix="seawall-faults-") as directory:
        stage = Stage(scenario, Path(directory))
        try:
            async with stage:
                await _acts(stage)
        except Exception as error:
            stage.result.problems.append(f"{type(error).__name__}: {error}")
        return stage.result


async def _acts(stage: Stage) -> None:
    await stage.scenario.prepare(stage)
    await stage.before()
    try:
        async with stage.fault():
            await stage.scenario.strike(stage)
        await stage.whole()
        await stage.after()
    finally:
        stage.conclude()
