"""The coordinator's side of the processes: start them, ask them, end them. Imports no gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.rows import ENDPOINTS, Row

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT = 30.0
ANSWER_LIMIT = 120.0
STOP_LIMIT = 10.0


Spec = dict[str, Any]
"""What a ``bench.worker`` process is told to be."""


ECHOES: Spec = {"side": "server", "kind": "both", "sampling": None, "count": ENDPOINTS}
"""The servers of the client rows."""


class WorkerError(Exception):
    """A process of the benchmark died, hung or could not start; the message says which and why."""


def own(row: Row) -> Spec:
    return {"side": row.side, "kind": row.kind, "sampling": row.sampling}


def environment() -> dict[str, str]:
    """This process's environment, less what would make one machine's rows unlike another's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SEAWALL_"))}
    # The hash seed decides the layout of every dict: at random it favours one row over another.
    return {**kept, "PYTHONHASHSEED": "0", "SEAWALL_SNAPSHOTS": "off"}


class Worker:
    """One ``bench.worker`` process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Any) -> None:
        self.name = name
        self.hello: dict[str, Any] = {}
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, name: str, spec: Spec) -> Worker:
        """Start it and wait until it is ready. Raises ``WorkerError``."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.worker", json.dumps(spec),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=environment(), cwd=ROOT,
        )  # fmt: skip
        worker = cls(name, process, errors)
        try:
            worker.hello = await worker._answer(START_LIMIT)
        except BaseException:
            await worker.stop()
            raise
        return worker

    async def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return the answer. Raises ``WorkerError``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        with suppress(ConnectionError):  # it died: reading its answer tells why
            await self._process.stdin.drain()
        return await self._answer(ANSWER_LIMIT)

    async def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise WorkerError(f"{self.name}: no answer within {limit:g} s") from None
        if not line:
            raise WorkerError(f"{self.name}: {await self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _last_words(self) -> str:
        # Its pipe closes before its error is written: wait for its end.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        # A TaskGroup's report is indented by a drawing: the innermost error is its last text.
        words = [text for line in lines if (text := line.strip(" |+-"))]
        return words[-1] if words else f"ended without a word (exit {self._process.returncode})"

    async def stop(self) -> None:
        """Let it end by itself; kill it if it doesn't."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        finally:
            self._errors.close()


@dataclass(frozen=True, slots=True)
class Burst:
    """What one burst of calls cost, in seconds for the whole of it."""

    asked: float
    """CPU that the measured process had used when it was asked for the burst."""
    before: float
    """The same when the burst began; between them lies the lead."""
    after: float
    """The same when it had ended."""
    wall: float
    spans: float
    """Spans that its calls left behind."""


class Subject(Protocol):
    """Something that can be measured: a row with its processes."""

    async def burst(self, calls: int, concurrency: int) -> Burst: ...


class ClientSubject:
    """A row's client, sending to the echo servers that all client rows share."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def burst(self, calls: int, concurrency: int) -> Burst:
        command = {"stub": 0, "calls": calls, "concurrency": concurrency}
        return Burst(**await self._worker.ask(command))


class ServerSubject:
    """A row's server, with the one bare client that drives all of them."""

    def __init__(self, worker: Worker, driver: Worker, stub: int) -> None:
        self._worker, self._driver, self._stub = worker, driver, stub

    async def burst(self, calls: int, concurrency: int) -> Burst:
        command = {"stub": self._stub, "calls": calls, "concurrency": concurrency}
        before = await self._worker.ask({})
        sent = await self._driver.ask(command)
        after = await self._worker.ask({})
        # The driver's unmeasured lead is in here: the server answered those calls too.
        served = sum(after["calls"]) - sum(before["calls"])
        share = calls / served
        cost = (after["cpu"] - before["cpu"]) * share
        spans = (after["spans"] - before["spans"]) * share
        return Burst(before["cpu"], after["cpu"] - cost, after["cpu"], sent["wall"], spans)


class Fleet:
    """All the processes of a run. What can't start is left out, and ``skipped`` says why."""

    def __init__(self) -> None:
        self.subjects: dict[str, Subject] = {}
        self.skipped: dict[str, str] = {}
        self._workers: list[Worker] = []
        self._echoes: Worker | None = None

    async def start(self, rows: Sequence[Row]) -> None:
        clients = [row for row in rows if row.side == "client"]
        servers = [row for row in rows if row.side == "server"]
        if clients:
            await self._start_clients(clients)
        if servers:
            await self._start_servers(servers)

    async def _start_clients(self, rows: Sequence[Row]) -> None:
        # One process holds all three, so that three endpoints aren't three processes' worth of
        # servers: a row with one endpoint and a row with three have the same CPU on the far side.
        self._echoes = await self._launch("echo servers", ECHOES)
        found = self._echoes.hello
        for row in rows:
            if not found[row.over]:
                self.skipped[row.name] = f"{row.name}: the echo servers have no {row.over} socket"
        rows = [row for row in rows if row.name not in self.skipped]
        specs = [{**own(row), "addresses": [found[row.over]]} for row in rows]
        for name, worker in (await self._launch_all(rows, specs)).items():
            self.subjects[name] = ClientSubject(worker)

    async def _start_servers(self, rows: Sequence[Row]) -> None:
        started = await self._launch_all(rows, [{**own(row), "count": 1} for row in rows])
        if not started:
            return
        groups = [worker.hello["tcp"] for worker in started.values()]
        spec: Spec = {"side": "client", "kind": "bare", "sampling": None, "addresses": groups}
        driver = await self._launch("driver of the servers", spec)
        for stub, (name, worker) in enumerate(started.items()):
            self.subjects[name] = ServerSubject(worker, driver, stub)

    async def _launch_all(self, rows: Sequence[Row], specs: Sequence[Spec]) -> dict[str, Worker]:
        async with asyncio.TaskGroup() as group:
            starts = [
                group.create_task(self._try(row.name, spec))
                for row, spec in zip(rows, specs, strict=True)
            ]
        found = ((row.name, start.result()) for row, start in zip(rows, starts, strict=True))
        return {name: worker for name, worker in found if worker is not None}

    async def _try(self, name: str, spec: Spec) -> Worker | None:
        try:
            return await self._launch(name, spec)
        except WorkerError as failure:
            self.skipped[name] = str(failure)
            return None

    async def _launch(self, name: str, spec: Spec) -> Worker:
        worker = await Worker.start(name, spec)
        self._workers.append(worker)
        return worker

    async def reached(self) -> list[int]:
        """Calls that each echo server of the client rows has had so far."""
        if self._echoes is None:
            return []
        calls: list[int] = (await self._echoes.ask({}))["calls"]
        return calls

    async def stop(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.stop())
        self._workers.clear()
