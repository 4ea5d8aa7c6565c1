"""The Go program of ``go/``, built and run."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.protos import echo_pb2 as pb

LIMIT = 30.0
"""Seconds for an answer of the program; it has limits of its own for each call (5 s)."""
_SOURCE = Path(__file__).with_name("go")
_DOWNLOAD_WITHIN = 180.0
_BUILD_WITHIN = 400.0
"""Seconds. Without a build cache it takes about 45 s on two cores."""


def build(directory: Path) -> Path:
    """Build the program. Skips the test where there is no Go, or no way to get its modules."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (no `go` on PATH): nothing to interoperate with")
    try:
        _run(_DOWNLOAD_WITHIN, go, "mod", "download")
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["no reason given"]
        pytest.skip(f"the Go modules can't be downloaded: {last[0]}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"the Go modules were not downloaded within {_DOWNLOAD_WITHIN:g} s")
    program = directory / "interop"
    try:
        _run(_BUILD_WITHIN, go, "build", "-buildvcs=false", "-o", str(program), ".")
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"the Go program does not build:\n{error.stderr}") from None
    (directory / "echo.descriptor").write_bytes(pb.DESCRIPTOR.serialized_pb)
    return program


def _run(limit: float, *command: str) -> None:
    subprocess.run(command, cwd=_SOURCE, check=True, capture_output=True, text=True, timeout=limit)


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of some calls of the Go client."""

    instances: Counter[str]
    """How many each instance answered, by address."""
    failures: list[str]


class GoProgram:
    """The program as ``client`` or ``server``; killed at the end if it has not left by then."""

    def __init__(
        self, program: Path, role: str, etcd: str, target: str, *, policy: str = "round_robin"
    ) -> None:
        descriptor = program.with_name("echo.descriptor")
        self._command = (
            str(program),
            "-proto",
            str(descriptor),
            "-policy",
            policy,
            role,
            etcd,
            target,
        )
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._running
        if process.returncode is None:
            process.kill()
        await process.communicate()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process

    async def tell(self, line: str) -> None:
        stdin = self._running.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        await stdin.drain()

    async def hear(self) -> str:
        """Its next line."""
        process = self._running
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(LIMIT):
            line = await process.stdout.readline()
            if not line:
                raise AssertionError(f"it ended:\n{(await process.stderr.read()).decode()}")
        return line.decode().strip()

    async def call(self, count: int) -> Answers:
        """As a client: make so many calls, one after the other."""
        await self.tell(str(count))
        answers = json.loads(await self.hear())
        return Answers(Counter(answers["instances"]), answers["failures"])

    async def leave(self) -> None:
        """As a server: say goodbye and stop, as SIGTERM asks."""
        process = self._running
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
