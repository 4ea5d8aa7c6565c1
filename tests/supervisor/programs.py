"""Supervisors as processes, for the tests of workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
SEAWALL = Path(sys.executable).with_name("seawall")
LIMIT = 40.0
"""Seconds that a test waits for a process to do something before it fails."""


class Command:
    """The command ``seawall run`` with workers, and what it has logged.

    It and its workers are killed at the end, if they are still there.
    """

    def __init__(self, *arguments: str, program: tuple[str, ...] = (), **environment: str) -> None:
        self._arguments = arguments
        self._program = program or (str(SEAWALL), "run", "tests.echo:EchoService")
        self._environment = environment
        self.log: list[str] = []
        self.pids: set[int] = set()
        """Of all the workers that ever served."""
        self.process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]
        self._news = asyncio.Event()
        # For its directory, which is left behind if all of them are killed.
        self._place = tempfile.TemporaryDirectory(prefix="sw", dir="/tmp")

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._program,
            *self._arguments,
            cwd=ROOT,
            # A machine that is busy with other tests is no reason to refuse what these ask for.
            env={
                **os.environ,
                "PYTHONPATH": ".",
                "SEAWALL_SHEDDING": "off",
                "TMPDIR": self._place.name,
                **self._environment,
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        for pid in self.pids:
            if exists(pid):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()
        await self._reader
        self._place.cleanup()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while said := await self.process.stderr.readline():
            line = said.decode(errors="replace").rstrip()
            self.log.append(line)
            if found := re.search(r"worker \d+ \(pid (\d+)\) serves", line):
                self.pids.add(int(found[1]))
            self._news.set()

    def said(self, pattern: str) -> list[re.Match[str]]:
        """The lines of the log in which ``pattern`` is found."""
        return [found for line in self.log if (found := re.search(pattern, line))]

    async def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait for so many such lines; returns the last one."""
        await self.until(lambda: len(self.said(pattern)) >= times, f"{times} x {pattern}")
        return self.said(pattern)[times - 1]

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for what the log tells."""
        try:
            async with asyncio.timeout(LIMIT):
                while not holds():
                    self._news.clear()
                    assert self.process.returncode is None, "it ended:\n" + "\n".join(self.log)
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not seen: {what}\n" + "\n".join(self.log)) from None

    async def pid(self, worker: int, generation: int = 1) -> int:
        """The process id of a worker, or of a later process of it, once that serves."""
        return int((await self.says(rf"worker {worker} \(pid (\d+)\) serves", generation))[1])

    async def address(self, worker: int, generation: int = 1) -> str:
        """Where such a process serves, once it does."""
        found = await self.says(rf"worker {worker} \(pid \d+\) serves at (\S+)", generation)
        return found[1]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it and all its workers have ended and all they said is read."""
        async with asyncio.timeout(LIMIT):
            await asyncio.shield(self._reader)
            return await self.process.wait()


def exists(pid: int) -> bool:
    """Whether there is a process of that number that is not just a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def gone(pid: int) -> None:
    """Wait until a process, which need not be a child of ours, has ended."""
    async with asyncio.timeout(LIMIT):
        while exists(pid):
            await asyncio.sleep(0.02)
