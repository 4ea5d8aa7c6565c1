"""A server that hangs up on calls by hand, each in a way that leaves no doubt what it has seen."""

from __future__ import annotations

import asyncio
import struct
from enum import Enum, auto
from types import TracebackType
from typing import Self

from tests.http2 import ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame
from tests.transport.raw_server import answer

_MOST_STREAMS = struct.pack(">HI", 3, 1)


class Leaves(Enum):
    """What becomes of the first call on a connection."""

    UNSEEN = auto()
    """GOAWAY says that it was not looked at."""
    SEEN = auto()
    """GOAWAY says that it was, and the connection ends."""
    WORDLESS = auto()
    """The connection ends."""
    ANSWERED = auto()


class LeavingServer:
    """Does what ``ways`` say, a connection each; later connections get answers."""

    def __init__(self, *ways: Leaves, streams: int | None = None) -> None:
        """``streams``: how many the first connection takes at a time; None = any number."""
        self._ways = list(ways)
        self._streams = streams
        self._writers: set[asyncio.StreamWriter] = set()
        self.seen = 0
        """Calls that have come in."""
        self.held = asyncio.Event()
        """The first call is here, on a connection that takes one."""
        self.hang_up = asyncio.Event()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        way = self._ways.pop(0) if self._ways else Leaves.ANSWERED
        streams, self._streams = self._streams, None
        writer.write(frame(SETTINGS, payload=b"" if streams is None else _MOST_STREAMS))
        try:
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                if kind in (SETTINGS, PING) and not flags & ACK:
                    writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
                elif kind in (HEADERS, DATA) and flags & END_STREAM:
                    self.seen += 1
                    if streams is not None:
                        self.held.set()
                        await self.hang_up.wait()
                    if not self._answer(writer, way, stream):
                        return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    def _answer(self, writer: asyncio.StreamWriter, way: Leaves, stream: int) -> bool:
        """Deal with a call; False if that was the last one of its connection."""
        if way is Leaves.ANSWERED:
            writer.write(answer(stream, ("grpc-status", "0"), body=bytes(5)))
            return True
        if way is not Leaves.WORDLESS:
            last = stream if way is Leaves.SEEN else stream - 2 if stream > 1 else 0
            writer.write(frame(GOAWAY, payload=struct.pack(">II", last, 0)))
        writer.close()
        return False
