"""The coordinator's side of one process: start it, ask it, signal it, end it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from bench.fleet import ANSWER_LIMIT, ROOT, START_LIMIT, Spec, Worker, environment

ANSWER_SIZE: Final = 1 << 26
"""Bytes of one answer, at most: a client tells of every call in one line."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Seconds of CPU, user and system, that a process has used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Process(Worker):
    """A process that says hello in JSON, and answers a line with a line, until its stdin ends."""

    @classmethod
    async def launch(cls, module: str, name: str, spec: Spec) -> Self:
        """Run ``module`` and wait until it is ready. Raises ``WorkerError``."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, json.dumps({**spec, "parent": os.getpid()}),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=environment(), cwd=ROOT, limit=ANSWER_SIZE,
        )  # fmt: skip
        started = cls(name, process, errors)
        try:
            started.hello = await started._answer(START_LIMIT)
        except BaseException:
            await started.stop()
            raise
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_of(self.pid)

    async def ask(self, command: dict[str, Any], limit: float = ANSWER_LIMIT) -> dict[str, Any]:
        """Send a command and return the answer. Raises ``WorkerError``, also after ``limit``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        with suppress(ConnectionError):  # it died: reading its answer tells why
            await self._process.stdin.drain()
        return await self._answer(limit)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def end(self) -> None:
        """End it at once, whatever it is doing: a client in the middle of its load, for one."""
        self.send(signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        """Let it end by itself; kill it if it doesn't."""
        self.send(signal.SIGCONT)  # a frozen one could not end
        await super().stop()


async def stop_all(processes: Sequence[Worker]) -> None:
    """End them side by side."""
    async with asyncio.TaskGroup() as group:
        for process in processes:
            group.create_task(process.stop())
