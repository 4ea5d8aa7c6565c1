"""How long ``import seawall`` takes, against the import of what it stands on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from bench.figures import Series
from bench.fleet import ROOT, WorkerError, environment

SUBJECTS = {
    "grpc.aio + OpenTelemetry API": (
        "import grpc.aio; from opentelemetry import context, metrics, propagate, trace"
    ),
    # The names too, and not only the package: a lazy package would pay later, not less.
    "seawall": "from seawall import Service, client, connect, options",
}
BASE, SEAWALL = SUBJECTS
TIMED = """
import resource, time
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
used, began = cpu(), time.perf_counter()
{statement}
print(cpu() - used, time.perf_counter() - began)
"""
LIMIT = 60.0


async def once(name: str) -> tuple[float, float]:
    """CPU and wall seconds of one import in a fresh interpreter. Raises ``WorkerError``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TIMED.format(statement=SUBJECTS[name]),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT):
            out, errors = await process.communicate()
    except TimeoutError:
        raise WorkerError(f"import of {name}: not done within {LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines()
        raise WorkerError(f"import of {name}: {words[-1] if words else 'failed'}")
    cpu, wall = out.split()
    return float(cpu), float(wall)


async def measure(rounds: int, progress: Callable[[str], None]) -> dict[str, Series]:
    """Import each subject once a round, in turn, in microseconds. Raises ``WorkerError``.

    The first round only writes the compiled files that the others read.
    """
    series = {name: Series() for name in SUBJECTS}
    for number in range(rounds + 1):
        progress(f"imports: round {number}/{rounds}")
        for name in SUBJECTS:
            cpu, wall = await once(name)
            if number:
                series[name].fleet.append(number)
                series[name].cpu.append(cpu * 1e6)
                series[name].wall.append(wall * 1e6)
    return series
