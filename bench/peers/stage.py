"""The replicas of a run, and what can be done to them."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench.fleet import WorkerError
from bench.peers.process import Process, stop_all
from bench.peers.tally import Tally

HOST: Final = "127.0.0.1"
PORTS: Final = range(20_000, 30_000)
"""Below what Linux gives to outgoing connections, so that nobody takes a killed replica's port."""
SETTLE_LIMIT: Final = 10.0
"""Seconds that calls left behind by one client may take to end before the next one's turn."""


def free_ports(count: int) -> list[int]:
    """Ports of ``PORTS`` that nobody listens on. Raises ``WorkerError`` if there are too few."""
    found: list[int] = []
    start = random.randrange(len(PORTS))
    for number in range(len(PORTS)):
        port = PORTS[(start + number) % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise WorkerError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


class Replica:
    """One replica: its port and its count stay, its process comes and goes."""

    def __init__(self, number: int, port: int, directory: Path) -> None:
        self.name = f"replica {number}"
        self.port = port
        self.address = f"{HOST}:{port}"
        self.state: dict[str, Any] = {"service": 0.005, "workers": 1, "failing": False}
        self.process: Process | None = None
        self._path = directory / f"{number}.tally"
        self._tally = Tally(self._path)

    @property
    def arrived(self) -> int:
        """Calls that have reached its handler, in all its processes."""
        return self._tally.count

    @property
    def cpu(self) -> float:
        return self.process.cpu if self.process else 0.0

    async def start(self) -> None:
        spec = {"port": self.port, "tally": str(self._path), "state": self.state}
        self.process = await Process.launch("bench.peers.replica", self.name, spec)

    async def set(self, **state: Any) -> None:
        self.state |= state
        assert self.process is not None
        await self.process.ask(self.state)

    async def in_flight(self) -> int:
        assert self.process is not None
        answer = await self.process.ask({})
        return int(answer["in_flight"])

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send(signal.SIGCONT)

    async def revive(self) -> None:
        """See that it runs, whatever became of it."""
        if self.process is not None and not self.process.alive:
            await self.process.stop()
            self.process = None
        if self.process is None:
            await self.start()
        else:
            self.thaw()

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """Ask it to stop in an orderly way, and wait for that."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        process, self.process = self.process, None
        process.send(number)
        await process.ended()
        await process.stop()

    async def stop(self) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            await process.stop()
        self._tally.close()


class Replicas:
    """As many replicas as any scenario needs; a scenario uses the first of them."""

    def __init__(self, count: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-peers-")
        path = Path(self._directory.name)
        ports = free_ports(count)
        self.all = [Replica(number, port, path) for number, port in enumerate(ports, 1)]

    async def start(self) -> None:
        for replica in self.all:  # one by one: eleven interpreters at once are slower on two cores
            await replica.start()

    def some(self, count: int) -> list[Replica]:
        return self.all[:count]

    async def reset(self, used: Sequence[Replica], state: dict[str, Any]) -> None:
        """Bring everyone back to health, and wait until nobody is left working.

        Raises ``WorkerError``.
        """
        for replica in used:
            replica.state |= state
            await replica.revive()
            await replica.set(**state)
        until = time.monotonic() + SETTLE_LIMIT
        for replica in used:
            while await replica.in_flight():
                if time.monotonic() > until:
                    raise WorkerError(f"{replica.name}: still busy after {SETTLE_LIMIT:g} s")
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        running = [one.process for one in self.all if one.process is not None]
        try:
            await stop_all(running)
        finally:
            for replica in self.all:
                replica.process = None
                await replica.stop()
            self._directory.cleanup()
