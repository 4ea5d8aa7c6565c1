"""Instances as processes of their own, and a load on them: for tests of what kills processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import grpc

from seawall.testing.etcd import EtcdServer
from tests.protos import echo_pb2 as pb

ROOT = Path(__file__).parents[1]
SEAWALL = Path(sys.executable).with_name("seawall")


class Fleet:
    """``EchoService`` processes under one registry."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.running: list[asyncio.subprocess.Process] = []
        self.log: list[str] = []
        """What all of them have logged, line by line."""
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> asyncio.subprocess.Process:
        """One more; returns when it serves."""
        child = await asyncio.create_subprocess_exec(
            SEAWALL, "run", "tests.echo:EchoService", "--registry", self.registry,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "."},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.running.append(child)
        assert child.stderr is not None
        async with asyncio.timeout(30):
            while b" serving " not in (line := await child.stderr.readline()):
                assert line, "the instance ended before it served"
        self._readers.append(asyncio.create_task(self._read(child.stderr)))
        return child

    async def _read(self, stderr: asyncio.StreamReader) -> None:
        # Nobody else does, and a full pipe would stop the instance.
        while line := await stderr.readline():
            self.log.append(line.decode(errors="replace").rstrip())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self.running:
            if child.returncode is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            await child.wait()
        await asyncio.gather(*self._readers)


class Load:
    """Calls at a steady rate, each started on time whatever became of the others."""

    def __init__(self, method: Any, rate: float) -> None:
        self._method = method
        self._rate = rate
        self._calls: list[asyncio.Task[None]] = []
        self.answered = 0
        self.failures: list[str] = []
        self.instances: set[str] = set()

    async def __aenter__(self) -> Self:
        self._pacer = asyncio.create_task(self._pace())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pacer.cancel()
        await asyncio.gather(*self._calls)

    async def more(self, answers: int) -> None:
        """Wait for so many more answers or failures."""
        wanted = self.done + answers
        async with asyncio.timeout(30):
            while self.done < wanted:
                await asyncio.sleep(0.02)

    async def reaches(self, instance: str) -> None:
        """Wait until an instance has answered."""
        async with asyncio.timeout(30):
            while instance not in self.instances:
                await asyncio.sleep(0.005)

    @property
    def done(self) -> int:
        return self.answered + len(self.failures)

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._calls.append(asyncio.create_task(self._one()))
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _one(self) -> None:
        try:
            reply = await self._method(pb.EchoRequest(text="x", delay=0.005), timeout=4.0)
        except grpc.RpcError as error:
            self.failures.append(str(error))
        else:
            self.answered += 1
            self.instances.add(reply.instance)


class RegisteredCount:
    """How many instances etcd lists, read by etcd's own client."""

    def __init__(self, etcd: EtcdServer) -> None:
        self._etcd = etcd

    async def becomes(self, count: int) -> None:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(self._count) != count:
                await asyncio.sleep(0.1)

    def _count(self) -> int:
        listed = self._etcd.etcdctl("get", "--prefix", "--keys-only", "seawall/seawall.tests.Echo/")
        return len(listed.split())
