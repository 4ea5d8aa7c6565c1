"""A server that hangs up on calls by hand, each in a way that leaves no doubt what it has seen."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
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
        self._serving: dict[asyncio.Task[None], socket.socket] = {}
        self.seen = 0
        """Calls that have come in."""
        self.held = asyncio.Event()
        """The first call is here, on a connection that takes one."""
        self.hang_up = asyncio.Event()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._serving:
            task.cancel()
        await asyncio.wait(self._serving)
        for connection in self._serving.values():
            connection.close()  # a task that was cancelled before it began hasn't

    def _accept(self) -> None:
        # asyncio's own server loses a connection that comes while it is being closed (3.11).
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._serving[asyncio.create_task(self._converse(connection))] = connection

    async def _converse(self, connection: socket.socket) -> None:
        with connection:
            reader, writer = await asyncio.open_connection(sock=connection)
            try:
                await self._serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                if not writer.is_closing():
                    writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self._ways.pop(0) if self._ways else Leaves.ANSWERED
        streams, self._streams = self._streams, None
        writer.write(frame(SETTINGS, payload=b"" if streams is None else _MOST_STREAMS))
        await reader.readexactly(len(PREFACE))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            if kind in (SETTINGS, PING) and not flags & ACK:
                writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == HEADERS:
                self.seen += 1
                if streams is not None:
                    self.held.set()
                    await self.hang_up.wait()
                self._leave(writer, way, stream)
                if way in (Leaves.SEEN, Leaves.WORDLESS):
                    return
            last = kind in (HEADERS, DATA) and flags & END_STREAM
            if last and way is Leaves.ANSWERED:
                writer.write(answer(stream, ("grpc-status", "0"), body=bytes(5)))

    def _leave(self, writer: asyncio.StreamWriter, way: Leaves, stream: int) -> None:
        if way in (Leaves.UNSEEN, Leaves.SEEN):
            last = stream if way is Leaves.SEEN else stream - 2 if stream > 1 else 0
            writer.write(frame(GOAWAY, payload=struct.pack(">II", last, 0)))
        if way in (Leaves.SEEN, Leaves.WORDLESS):
            writer.close()
