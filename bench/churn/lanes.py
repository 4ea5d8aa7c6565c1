"""What callers do in the churn: each comes, does one thing, well or badly, and goes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc import aio

import seawall
from tests.hostile import ECHO, HELLO, SAY
from tests.http2 import CANCEL, END_HEADERS, HEADERS, RST_STREAM, Raw, frame, message, request
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

PATIENCE: Final = 20.0
"""Seconds that one thing may take."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who does one thing: to which port, by what chance. ``plain``: with gRPC alone."""

    port: int
    chance: random.Random
    plain: bool

    async def ask(self, text: str = "hello", timeout: float = 10.0, delay: float = 0.0) -> None:
        """A call, by a channel of its own."""
        address = f"static://127.0.0.1:{self.port}"
        opened: Any = self.channel() if self.plain else seawall.connect(address)
        async with opened as channel:
            request = pb.EchoRequest(text=text, delay=delay)
            await pb_grpc.EchoStub(channel).Say(request, timeout=timeout)

    def channel(self) -> aio.Channel:
        """One of gRPC's own."""
        return aio.insecure_channel(f"127.0.0.1:{self.port}")


Act = Callable[[Caller], Awaitable[None]]


async def call(who: Caller) -> None:
    await who.ask()


async def large_call(who: Caller) -> None:
    await who.ask(text="x" * who.chance.randrange(1, 3_000_000))


async def late(who: Caller) -> None:
    with suppress(grpc.RpcError):
        await who.ask(timeout=who.chance.uniform(0.001, 0.02), delay=10.0)


async def given_up(who: Caller) -> None:
    """A call that is cancelled at some moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(who.chance.uniform(0, 0.03)):
            await who.ask(delay=5.0)


async def cut_stream(who: Caller) -> None:
    """A stream of responses of which a few are read."""
    async with who.channel() as channel:
        stream = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=10_000), timeout=10)
        for _ in range(who.chance.randrange(5)):
            await stream.read()
        stream.cancel()


async def cut_chat(who: Caller) -> None:
    """A stream both ways that is dropped with its connection."""
    async with who.channel() as channel:
        stream = pb_grpc.EchoStub(channel).Chat(timeout=10)
        for _ in range(who.chance.randrange(1, 5)):
            await stream.write(pb.EchoRequest(text="hello"))
            await stream.read()


async def half_a_join(who: Caller) -> None:
    async with who.channel() as channel:
        stream = pb_grpc.EchoStub(channel).Join(timeout=10)
        await stream.write(pb.EchoRequest(text="hello"))


async def nonsense(who: Caller) -> None:
    """A malformed call, then the connection is cut."""
    # One path that is no text, and a server of plain grpc.aio listens no more.
    path = who.chance.randbytes(20)
    if who.plain:
        path = path.hex().encode()
    wrong: list[dict[str, Any]] = [
        {"path": SAY, "body": message(who.chance.randbytes(40))},
        {"path": b"/" + path, "body": HELLO},
        {"path": ECHO + "Nope", "body": HELLO},
        {"path": SAY, "body": message(b"", length=1 << 30)},
    ]
    async with Raw(who.port) as connection:
        await connection.greet()
        await connection.call(1, **who.chance.choice(wrong))
        await connection.status(1)


async def garbage(who: Caller) -> None:
    """Bytes that are no HTTP/2, or not to the end."""
    async with Raw(who.port) as connection:
        if who.chance.random() < 0.5:
            await connection.greet()
        await connection.send(who.chance.randbytes(who.chance.randrange(1, 5000)))


async def resets(who: Caller) -> None:
    async with Raw(who.port) as connection:
        await connection.greet()
        for stream in range(1, 2 * who.chance.randrange(50), 2):
            head = frame(HEADERS, END_HEADERS, stream, request(SAY))
            await connection.send(head + frame(RST_STREAM, 0, stream, CANCEL))


ACTS: Final[list[Act]] = [
    call, call, call, large_call, late, given_up, given_up, cut_stream, cut_chat, half_a_join,
    nonsense, garbage, resets,
]  # fmt: skip


async def lane(ports: list[int], seed: int, done: Counter[str], *, plain: bool = False) -> None:
    """Do one thing after the other until cancelled. ``done`` counts them; what did not end as it
    should have, as ``failed``: while calls are reset by the dozen a few of other callers fail."""
    chance = random.Random(seed)
    while True:
        act = chance.choice(ACTS)
        try:
            async with asyncio.timeout(PATIENCE):
                await act(Caller(chance.choice(ports), chance, plain))
        except (grpc.RpcError, OSError, TimeoutError) as error:
            done[f"failed: {act.__name__}, {_reason(error)}"] += 1
        else:
            done[act.__name__] += 1


def _reason(error: BaseException) -> str:
    code = error.code() if isinstance(error, aio.AioRpcError) else None
    return type(error).__name__ if code is None else code.name
