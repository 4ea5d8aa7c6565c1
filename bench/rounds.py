"""The rounds: who has a turn, and what came of it. Imports no gRPC."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from bench.figures import Series
from bench.fleet import Burst, Fleet, WorkerError
from bench.report import Run
from bench.rows import BASE, BY_NAME, Row


class Idle:
    """Keeps count of the CPU that processes use between their own bursts."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[float, float]] = {}
        self._cpu: dict[str, float] = {}
        self._wall: dict[str, float] = {}

    def saw(self, name: str, burst: Burst, began: float, ended: float) -> None:
        if name in self._ended:
            cpu, since = self._ended[name]
            self._cpu[name] = self._cpu.get(name, 0.0) + burst.asked - cpu
            self._wall[name] = self._wall.get(name, 0.0) + began - since
        self._ended[name] = (burst.after, ended)

    def new_processes(self) -> None:
        self._ended.clear()

    def percent(self) -> dict[str, float]:
        return {name: 100 * cpu / self._wall[name] for name, cpu in self._cpu.items()}


class Bench:
    """Measures rows in turn, with several fleets of processes one after the other."""

    def __init__(self, run: Run, rows: Sequence[Row], progress: Callable[[str], None]) -> None:
        method = run.method
        self._run, self._rows, self._progress = run, rows, progress
        self._calls: int = method["calls"]
        self._concurrencies: list[int] = method["concurrency"]
        self._random = random.Random(method["seed"])
        self._idle = Idle()
        self._fleet = Fleet()
        self._done = 0
        self._began = time.monotonic()

    async def measure(self, rounds: int, fleets: int) -> None:
        """Make ``rounds`` rounds, shared out among ``fleets``. Raises ``WorkerError``."""
        share, rest = divmod(rounds, fleets)
        for number in range(fleets):
            if count := share + (number < rest):
                await self._with_one_fleet(number, count, rounds)
        self._run.idle = self._idle.percent()

    async def _with_one_fleet(self, number: int, rounds: int, of: int) -> None:
        self._fleet = Fleet()
        self._idle.new_processes()
        try:
            self._progress(f"starting fleet {number + 1} of processes")
            await self._fleet.start(
                [row for row in self._rows if row.name not in self._run.skipped]
            )
            for name, why in self._fleet.skipped.items():
                self._drop(name, why)
            await self._warm_up()
            for _ in range(rounds):
                await self._round(number)
                self._done += 1
                left = (time.monotonic() - self._began) / self._done * (of - self._done)
                self._progress(f"round {self._done}/{of}, about {left:.0f} s left")
        finally:
            await self._fleet.stop()

    async def _warm_up(self) -> None:
        """A round that doesn't count; it also sees which endpoints each client uses."""
        for name in list(self._fleet.subjects):
            before = await self._fleet.reached()
            for concurrency in self._concurrencies:
                await self._turn(name, concurrency)
            if BY_NAME[name].side == "client":
                calls = zip(before, await self._fleet.reached(), strict=True)
                reached = sum(after > earlier for earlier, after in calls)
                self._run.reached[name] = min(reached, self._run.reached.get(name, reached))

    async def _round(self, fleet: int) -> None:
        for concurrency in self._concurrencies:
            order = list(self._fleet.subjects)
            self._random.shuffle(order)
            bursts = {name: await self._turn(name, concurrency) for name in order}
            for name, burst in bursts.items():
                if burst is None or name in self._run.skipped:
                    continue
                series = self._run.series.setdefault((name, concurrency), Series())
                series.fleet.append(fleet)
                series.cpu.append((burst.after - burst.before) / self._calls * 1e6)
                series.wall.append(burst.wall / self._calls * 1e6)
                series.spans.append(burst.spans / self._calls)

    async def _turn(self, name: str, concurrency: int) -> Burst | None:
        began = time.perf_counter()
        try:
            burst = await self._fleet.subjects[name].burst(self._calls, concurrency)
        except WorkerError as failure:
            self._drop(name, str(failure))
            return None
        self._idle.saw(name, burst, began, time.perf_counter())
        return burst

    def _drop(self, name: str, why: str) -> None:
        """Go on without a row: half of one has no ratios. Without a base row there is no point."""
        if name in BASE.values():
            raise WorkerError(why)
        self._run.skipped[name] = why
        self._fleet.subjects.pop(name, None)
        for key in [key for key in self._run.series if key[0] == name]:
            del self._run.series[key]
