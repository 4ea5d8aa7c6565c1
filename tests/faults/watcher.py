"""The witness as the row sees it: its process, what it saw, and the CPU time it took."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.faults.ledger import Lists, Sighting

ROOT = Path(__file__).parents[2]


class Witness:
    """A witness process, ``async with``. Raises ``AssertionError`` if it ends by itself."""

    def __init__(self, url: str, services: Sequence[str]) -> None:
        self.sightings: list[Sighting] = []
        self.lists: Lists = {}
        """By service and id, what it knows now."""
        self.told: list[tuple[float, str, dict[str, Any]]] = []
        """Events: when, which, and their facts."""
        self.errors: list[str] = []
        """Its stderr."""
        self._arguments = (url, *services)
        self._news = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.witness", *self._arguments,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )  # fmt: skip
        self._readers = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._read_errors()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)

    def cpu(self) -> float:
        """Seconds of CPU that it has used, user and system, all threads."""
        # The kernel's clock for another process's CPU time: /proc has it in steps of 10 ms only.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def watch(self, service: str) -> None:
        """Have it watch one more service."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{service}\n".encode())
        await self._process.stdin.drain()

    async def sees(self, expected: Lists, within: float) -> None:
        """Return when it knows exactly this. Raises ``TimeoutError``."""
        async with asyncio.timeout(within):
            while any(self.lists.get(service) != listed for service, listed in expected.items()):
                assert self._process.returncode is None, f"the witness ended: {self.errors[-5:]}"
                self._news.clear()
                await self._news.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "told" in said:
                self.told.append((said["at"], said["told"], said["facts"]))
            else:
                self._saw(said)
            self._news.set()
        self._news.set()

    def _saw(self, said: dict[str, Any]) -> None:
        put, gone = said["put"], tuple(said["gone"])
        self.sightings.append(
            Sighting(said["at"], said["service"], put, gone, tuple(said["again"]))
        )
        listed = self.lists.setdefault(said["service"], {})
        listed.update(put)
        for id_ in gone:
            del listed[id_]

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.errors.append(line.decode(errors="replace").rstrip())
