"""What callers do in the churn: each comes, does one thing, well or badly, and goes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc import aio

import seawall
from tests.hostile import ECHO, HELLO, SAY
from tests.http2 import CANCEL, END_HEADERS, HEADERS, RST_STREAM, Raw, frame, message, request
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

Act = Callable[[int, random.Random], Awaitable[None]]
PATIENCE: Final = 20.0
"""Seconds that one thing may take."""


async def _ask(port: int, text: str = "hello", timeout: float = 10.0, delay: float = 0.0) -> None:
    async with seawall.connect(f"static://127.0.0.1:{port}") as channel:
        await pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text=text, delay=delay), timeout=timeout)


async def call(port: int, chance: random.Random) -> None:
    await _ask(port)


async def large_call(port: int, chance: random.Random) -> None:
    await _ask(port, text="x" * chance.randrange(1, 3_000_000))


async def late(port: int, chance: random.Random) -> None:
    with suppress(grpc.RpcError):
        await _ask(port, timeout=chance.uniform(0.001, 0.02), delay=10.0)


async def given_up(port: int, chance: random.Random) -> None:
    """A call that is cancelled at some moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(chance.uniform(0, 0.03)):
            await _ask(port, delay=5.0)


async def cut_stream(port: int, chance: random.Random) -> None:
    """A stream of responses of which a few are read."""
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=10_000), timeout=10)
        for _ in range(chance.randrange(5)):
            await stream.read()
        stream.cancel()


async def cut_chat(port: int, chance: random.Random) -> None:
    """A stream both ways that is dropped with its connection."""
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = pb_grpc.EchoStub(channel).Chat(timeout=10)
        for _ in range(chance.randrange(1, 5)):
            await stream.write(pb.EchoRequest(text="hello"))
            await stream.read()


async def half_a_join(port: int, chance: random.Random) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = pb_grpc.EchoStub(channel).Join(timeout=10)
        await stream.write(pb.EchoRequest(text="hello"))


async def nonsense(port: int, chance: random.Random) -> None:
    """A malformed call, then the connection is cut."""
    wrong: list[dict[str, Any]] = [
        {"path": SAY, "body": message(chance.randbytes(40))},
        {"path": b"/" + chance.randbytes(20), "body": HELLO},
        {"path": ECHO + "Nope", "body": HELLO},
        {"path": SAY, "body": message(b"", length=1 << 30)},
    ]
    async with Raw(port) as connection:
        await connection.greet()
        await connection.call(1, **chance.choice(wrong))
        await connection.status(1)


async def garbage(port: int, chance: random.Random) -> None:
    """Bytes that are no HTTP/2, or not to the end."""
    async with Raw(port) as connection:
        if chance.random() < 0.5:
            await connection.greet()
        await connection.send(chance.randbytes(chance.randrange(1, 5000)))


async def resets(port: int, chance: random.Random) -> None:
    async with Raw(port) as connection:
        await connection.greet()
        for stream in range(1, 2 * chance.randrange(50), 2):
            head = frame(HEADERS, END_HEADERS, stream, request(SAY))
            await connection.send(head + frame(RST_STREAM, 0, stream, CANCEL))


ACTS: Final[list[Act]] = [
    call, call, call, large_call, late, given_up, given_up, cut_stream, cut_chat, half_a_join,
    nonsense, garbage, resets,
]  # fmt: skip


async def lane(ports: list[int], seed: int, done: Counter[str]) -> None:
    """Do one thing after the other until cancelled. ``done`` counts them; what did not end as it
    should have, as ``failed``: while calls are reset by the dozen a few of other callers fail."""
    chance = random.Random(seed)
    while True:
        act = chance.choice(ACTS)
        try:
            async with asyncio.timeout(PATIENCE):
                await act(chance.choice(ports), chance)
        except (grpc.RpcError, OSError, TimeoutError) as error:
            done[f"failed: {act.__name__}, {_reason(error)}"] += 1
        else:
            done[act.__name__] += 1


def _reason(error: BaseException) -> str:
    code = error.code() if isinstance(error, aio.AioRpcError) else None
    return type(error).__name__ if code is None else code.name
