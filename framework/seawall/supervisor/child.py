"""A worker's process, seen from the supervisor: start it, hear it, signal it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from seawall.supervisor.protocol import LONGEST, MODULE, Job

_log = logging.getLogger("seawall.supervisor")


class Child:
    """One process, from its start to its end."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        # Never closed before the process has ended: that is how it would know that we are dead.
        self._writer = writer

    @classmethod
    async def start(cls, job: Job) -> Child:
        """Start it and give it its job. Raises ``OSError`` if that can't be.

        It is another program, not a fork: gRPC's threads and locks don't survive a fork.
        """
        near, far = socket.socketpair()
        with far:
            try:
                process = await asyncio.create_subprocess_exec(
                    *_command(job, far.fileno()),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(far.fileno(),),
                )
            except BaseException:
                near.close()
                raise
        try:
            reader, writer = await asyncio.open_connection(sock=near, limit=LONGEST)
        except BaseException:
            near.close()
            process.kill()
            await process.wait()
            raise
        writer.write(job.encode())
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing if it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, until it has ended. What is no message is logged, and ends it too."""
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ValueError(f"{message!r} is no message")
                yield message
        except ConnectionError:
            return
        except ValueError:
            _log.exception("pid %d says what no worker of this version says", self.pid)

    async def wait(self) -> int:
        """Its exit status, or minus the number of the signal that killed it."""
        return await self._process.wait()

    async def end(self) -> None:
        """Kill it if it is still there, and close what led to it."""
        try:
            if self._process.returncode is None:
                self.send(signal.SIGKILL)
                await self._process.wait()
        finally:
            self._writer.close()


def _command(job: Job, fd: int) -> list[str]:
    """What is run; all after the number is for people who look at the list of processes."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    shown = (f"worker-{job.number}", *job.targets)
    return [sys.executable, *flags, "-m", MODULE, str(fd), *shown]
