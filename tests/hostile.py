"""A server under attack, and what it must be like afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from grpc import StatusCode

from seawall import Service
from tests.echo import EchoService
from tests.http2 import Field, Raw, message
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

ECHO = "/seawall.tests.Echo/"
SAY = ECHO + "Say"
HELLO = message(pb.EchoRequest(text="hello").SerializeToString())
CANCELLED_BY_CORE = (StatusCode.CANCELLED.value[0], "CANCELLED")
ARITIES = ("Say", "Count", "Join", "Chat")


class DefEcho(Service, pb_grpc.EchoServicer):
    """``def`` handlers of all four arities."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"registry": "memory://tests", "settle": 0.0, **settings})

    def Say(self, request, context):
        return pb.EchoReply(text=request.text)

    def Count(self, request, context):
        for number in range(request.count):
            yield pb.EchoReply(text=str(number))

    def Join(self, request_iterator, context):
        return pb.EchoReply(text=",".join(request.text for request in request_iterator))

    def Chat(self, request_iterator, context):
        for request in request_iterator:
            yield pb.EchoReply(text=request.text)


class Target:
    """A service that is attacked, in this process."""

    def __init__(self, service: EchoService | DefEcho) -> None:
        self.service = service
        self._before = (0, 0)

    @property
    def port(self) -> int:
        return self.service.port

    async def ask(
        self, path: str | bytes, *metadata: Field, body: bytes = HELLO
    ) -> tuple[int, str]:
        """One call on a connection of its own: its status and message."""
        async with asyncio.timeout(10):
            async with Raw(self.port) as connection:
                await connection.greet()
                await connection.call(1, path, *metadata, body=body)
                return await connection.status(1)

    async def ready(self) -> None:
        """Note what there is before the attack, once all that comes with the first call is."""
        await self.answers()
        self._before = self._open()

    async def answers(self) -> None:
        """It does, whoever asks.

        While thousands of calls are reset gRPC's core (seen with 1.85, without seawall as well)
        answers one or two of other callers CANCELLED, before any handler is asked.
        """
        for _ in range(4):
            said = await self.ask(SAY)
            if said != CANCELLED_BY_CORE:
                break
        assert said == (0, ""), said

    async def unharmed(self) -> None:
        """It answers, and nothing of the attack is left: no task, descriptor, call or waiter."""
        await self.answers()
        try:
            async with asyncio.timeout(10):
                while not self._as_before():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            tasks = sorted(repr(task) for task in asyncio.all_tasks())
            message = f"(tasks, descriptors) {self._before} -> {self._open()}; {self._load()}"
            raise AssertionError("\n".join([message, *tasks])) from None

    def _as_before(self) -> bool:
        now = self._open()
        return all(a <= b for a, b in zip(now, self._before, strict=True)) and not self._load()

    def _load(self) -> int:
        server = self.service.server
        return server.meter.in_flight + server.admission.waiting()

    def _open(self) -> tuple[int, int]:
        return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))
