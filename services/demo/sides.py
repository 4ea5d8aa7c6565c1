"""The two load generators, seen from the demo: started, told when to begin and when to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from services.demo.fleet import DemoError
from services.demo.show import Lines

READY_TIMEOUT: Final = 30.0
"""Seconds to import, connect and warm up."""
STOP_TIMEOUT: Final = 15.0
"""Seconds until the calls that are under way have ended; none may take longer than 3."""


class Side:
    """One load generator."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._out = directory / f"{name}.records"
        self._log = directory / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self, rate: float, environment: Mapping[str, str]) -> AsyncIterator[Side]:
        """Start it and wait until it is warm. Killed at the end, if it still runs."""
        with self._log.open("wb") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.demo.load", self.name, str(rate), str(self._out),
                env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=log, process_group=0,
            )  # fmt: skip
        try:
            yield self
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def warm(self) -> None:
        """Return when it could begin."""
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                line = await self._output.readline()
        except TimeoutError:
            raise self._broken(f"was not warm within {READY_TIMEOUT:.0f} s") from None
        if not line:
            raise self._broken("ended before it began")

    async def go(self, start: float, lines: Lines) -> None:
        """Make it begin at ``start`` (monotonic clock); show its progress until it is stopped."""
        await self._send(f"{start}\n".encode())
        while line := await self._output.readline():
            lines.progress(self.name, json.loads(line))
        if not self._stopping:
            raise self._broken("ended too early")

    async def stop(self) -> list[dict[str, Any]]:
        """Let it end its calls; return the record of each."""
        assert self._process is not None and self._process.stdin is not None
        self._stopping = True
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await self._process.wait()
        except TimeoutError:
            raise self._broken(f"did not end within {STOP_TIMEOUT:.0f} s") from None
        if code:
            raise self._broken(f"ended with {code}")
        return [json.loads(line) for line in self._out.read_text(encoding="utf-8").splitlines()]

    @property
    def _output(self) -> asyncio.StreamReader:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout

    async def _send(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except ConnectionError:
            raise self._broken("ended before it began") from None

    def _broken(self, what: str) -> DemoError:
        words = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return DemoError("\n".join([f"the load generator of the {self.name} side {what}", *words]))
