"""A server of its own process that may have few file descriptors, and what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.supervisor.programs import SEAWALL, Command

SERVICE: Final = "seawall.tests.Echo"
REFUSED: Final = "file descriptors are open: new connections are refused"
FREE: Final = "file descriptors are free again"
_MOST_CPU: Final = 0.5
"""Seconds in one second of which the server has nothing to do; one that spins uses all of it."""
_PATIENCE: Final = 30.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Held(NamedTuple):
    """What a process holds, and the CPU that it has used so far."""

    descriptors: int
    memory: int
    """Bytes resident."""
    cpu: float
    """Seconds."""

    @classmethod
    def by(cls, pid: int) -> Self:
        home = Path(f"/proc/{pid}")
        times = (home / "stat").read_text().rpartition(")")[2].split()[11:13]
        resident = int((home / "statm").read_text().split()[1])
        descriptors = sum(1 for _ in (home / "fd").iterdir())
        return cls(descriptors, resident * _PAGE, sum(map(int, times)) / _TICKS)


class Limited(Command):
    """A server of its own process that may have ``descriptors`` of them."""

    def __init__(self, descriptors: int, **environment: str) -> None:
        program = f"ulimit -n {descriptors}; exec {SEAWALL} run tests.limited:Hungry"
        super().__init__(
            program=("sh", "-c", program),
            **{
                "SEAWALL_REGISTRY": "memory://limited",
                "SEAWALL_UNIX_SOCKET": "off",
                "SEAWALL_HOST": "127.0.0.1",
                **environment,
            },
        )

    async def port(self) -> int:
        """Where it serves, once it does."""
        return int((await self.says(r"serving .* at 127\.0\.0\.1:(\d+)"))[1])

    @property
    def held(self) -> Held:
        return Held.by(self.process.pid)

    async def comes_back_to(self, descriptors: int) -> None:
        """Wait until it has no more than so many open."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.held.descriptors > descriptors:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{descriptors} -> {self.held.descriptors}") from None


class Hungry(EchoService):
    """Its ``Charge`` takes all descriptors that there are, and each that comes free, until it is
    charged with ``enough``."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"registry": None, **settings})  # SEAWALL_REGISTRY's
        self._taken: list[int] = []
        self._eating: asyncio.Task[None] | None = None

    async def Charge(self, request, context):
        if request.text == "enough":
            await self._stop_eating()
        else:
            self._eat()
            self._eating = self._eating or asyncio.create_task(self._keep_eating())
        return self.reply(str(len(self._taken)), context)

    async def on_stop(self) -> None:
        await self._stop_eating()

    async def _stop_eating(self) -> None:
        if self._eating is not None:
            self._eating.cancel()
            await asyncio.wait((self._eating,))
            self._eating = None
        while self._taken:
            os.close(self._taken.pop())

    async def _keep_eating(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            self._eat()

    def _eat(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._taken.append(os.open(os.devnull, os.O_RDONLY))


class Calls:
    """Calls on one channel, one after the other, for as long as the ``async with`` lasts; each has
    to be answered within ``limit`` seconds."""

    def __init__(self, stub: object, limit: float) -> None:
        self._stub = stub
        self._limit = limit
        self._task: asyncio.Task[None]
        self.slowest = 0.0
        """Seconds."""
        self.answered = 0

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await self._stub.Say(pb.EchoRequest(text="hello"), timeout=self._limit)
            self.slowest = max(self.slowest, clock() - began)
            self.answered += 1
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def own_channel(port: int) -> AsyncIterator[aio.Channel]:
    """A channel with a connection that no other channel shares."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


async def call_anew(port: int) -> None:
    """One call on a new connection."""
    async with own_channel(port) as channel:
        stub = pb_grpc.EchoStub(channel)
        reply = await stub.Say(pb.EchoRequest(text="hello"), timeout=20, wait_for_ready=True)
        assert reply.text == "hello"


async def healthy(channel: aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    stub = health_pb2_grpc.HealthStub(channel)
    reply = await stub.Check(request, timeout=20, wait_for_ready=True)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def is_at_rest(server: Limited, stub: pb_grpc.EchoStub) -> None:
    """The server doesn't spin: what it uses during a call that only waits."""
    before = server.held.cpu
    await stub.Say(pb.EchoRequest(text="hello", delay=1.0), timeout=20)
    assert server.held.cpu - before < _MOST_CPU


async def ends_well(server: Limited) -> None:
    server.send(signal.SIGTERM)
    assert await server.ended() == 0
