"""Connections by the thousand that do nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterator
from typing import Final, Self

from tests.http2 import ACK, PING, PREFACE, SETTINGS, frame

GREETING: Final = PREFACE + frame(SETTINGS)
_AT_A_TIME: Final = 200
_PATIENCE: Final = 30.0


class Idle(asyncio.Protocol):
    """A connection of a crowd: as much of an HTTP/2 client as stays connected."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._left = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._crowd.greets:
            transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if not self._crowd.greets:
            return
        data = self._left + data
        while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
            self._take(data[3], data[4], data[9:size])
            data = data[size:]
        self._left = data

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SETTINGS and flags & ACK:
            self._crowd.greeted += 1
            self._crowd.news.set()
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))

    def connection_lost(self, problem: Exception | None) -> None:
        self._crowd.lost += 1
        self._crowd.news.set()


class Crowd:
    """Idle connections to one port: mute ones, or with ``greets`` such as have exchanged the
    settings of HTTP/2. They leave at the end of an ``async with``."""

    def __init__(self, port: int, *, greets: bool = True) -> None:
        self.greets = greets
        self.greeted = 0
        """How many have had the server's acknowledgement of their settings."""
        self.lost = 0
        """How many were closed, by whichever side."""
        self.news = asyncio.Event()
        self._port = port
        self._members: list[Idle] = []

    async def come(self, count: int) -> None:
        """Connect ``count`` times more."""
        gate = asyncio.Semaphore(_AT_A_TIME)
        loop = asyncio.get_running_loop()

        async def one() -> None:
            async with gate:
                _, member = await loop.create_connection(
                    lambda: Idle(self), "127.0.0.1", self._port
                )
            self._members.append(member)

        async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(one())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what it counts."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.greeted} were greeted, {self.lost} lost") from None

    async def leave(self) -> None:
        """Close all, as by RST."""
        for member in self._members:
            member.transport.abort()
        await self.until(lambda: self.lost >= len(self._members))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()


@contextlib.contextmanager
def room_for(connections: int) -> Iterator[bool]:
    """Whether this process may have so many connections; if so it has room for them meanwhile."""
    limits = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 500
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield True
    elif hard != resource.RLIM_INFINITY and hard < wanted:
        yield False
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        try:
            yield True
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
