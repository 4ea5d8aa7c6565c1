"""A server that answers every call with what no server of gRPC's would."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    Field,
    fields,
    frame,
    headers,
)

_FIRST = fields([(":status", "200"), ("content-type", "application/grpc")])


def answer(stream: int, *trailing: Field, body: bytes = b"") -> bytes:
    """The frames of a response: ``body``, with ``trailing`` after it."""
    middle = frame(DATA, 0, stream, body) if body else b""
    end = frame(HEADERS, END_HEADERS | END_STREAM, stream, fields(trailing))
    return headers(stream, _FIRST) + middle + end


@asynccontextmanager
async def answering(*trailing: Field, body: bytes = b"") -> AsyncIterator[str]:
    """Every call is answered by ``body``, with ``trailing`` after it; yields the address."""
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        writer.write(frame(SETTINGS))
        try:
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                if kind in (SETTINGS, PING) and not flags & ACK:
                    writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
                elif kind in (HEADERS, DATA) and flags & END_STREAM:
                    writer.write(answer(stream, *trailing, body=body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
