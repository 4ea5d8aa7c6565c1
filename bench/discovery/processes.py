"""The processes of a part, from the coordinator's side, and what any process uses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.fleet import ROOT, START_LIMIT, Spec, Worker, environment

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(Worker):
    """One ``bench.discovery.worker`` process."""

    @classmethod
    async def start(cls, name: str, spec: Spec) -> Process:
        """Start it and wait until it is ready. Raises ``WorkerError``."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.discovery.worker", json.dumps(spec),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=environment(), cwd=ROOT, limit=2**26,
        )  # fmt: skip
        process = cls(name, child, errors)
        try:
            process.hello = await process._answer(START_LIMIT)
        except BaseException:
            await process.stop()
            raise
        return process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def do(self, command: str, **arguments: Any) -> Any:
        """Have it do something, and return what comes of it. Raises ``WorkerError``."""
        return (await self.ask({"do": command, **arguments}))["result"]

    async def kill(self) -> None:
        """SIGKILL: it says nothing any more."""
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


class Crew:
    """Processes that end with the ``async with`` block that they work in."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    async def start(self, name: str, role: str, **spec: Any) -> Process:
        process = await Process.start(name, {"role": role, **spec})
        self._processes.append(process)
        return process

    async def start_all(self, name: str, role: str, specs: list[dict[str, Any]]) -> list[Process]:
        """Several of one role, at the same time."""
        async with asyncio.TaskGroup() as group:
            starts = [
                group.create_task(self.start(f"{name} {number}", role, **spec))
                for number, spec in enumerate(specs, 1)
            ]
        return [start.result() for start in starts]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes))


async def everybody(processes: list[Process], command: str, **arguments: Any) -> list[Any]:
    """Have all of them do the same at the same time."""
    return await asyncio.gather(*(process.do(command, **arguments) for process in processes))


def shares(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` numbers as equal as can be."""
    share, rest = divmod(total, parts)
    return [share + (index < rest) for index in range(parts)]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses."""

    cpu: float
    """Seconds so far, user and system, to the kernel's tick of about 10 ms."""
    memory: int
    """Bytes resident."""
    peak: int
    """The most bytes that were ever resident."""

    @classmethod
    def of(cls, pid: int | str = "self") -> Usage:
        """Raises ``OSError`` if there is no such process."""
        # The name, in brackets, may hold anything; what follows it is numbers.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICK
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        high = next((line for line in status if line.startswith("VmHWM:")), "VmHWM: 0")
        return cls(cpu, int(fields[21]) * _PAGE, int(high.split()[1]) * 1024)
