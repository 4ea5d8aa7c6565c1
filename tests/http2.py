"""HTTP/2 by hand, for what no well-meant client sends: frames, right and wrong, and the answers.

Only as much of RFC 9113 and RFC 7541 as the attacks need; header fields are sent as literals.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8, 0x9,
)  # fmt: skip
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
CANCEL: Final = struct.pack(">I", 8)

_FRAME: Final = 16384
"""The largest that a peer takes, if it doesn't say otherwise."""
_STATUS: Final = re.compile(rb"grpc-status(?:\x01|\x02)(\d+)")
_MESSAGE: Final = re.compile(rb"grpc-message([\x00-\x7e]|\x7f[\x80-\xff]?[\x00-\x7f])", re.DOTALL)

Field = tuple[str | bytes, str | bytes]


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields(entries: Iterable[Field]) -> bytes:
    """A header block: each field literal, never indexed, not Huffman coded."""
    block = bytearray()
    for entry in entries:
        block.append(0x10)
        for part in entry:
            data = part.encode() if isinstance(part, str) else part
            block += _length(len(data)) + data
    return bytes(block)


def request(path: str | bytes, *more: Field) -> bytes:
    """The header block of a call."""
    return fields(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *more,
        ]
    )


def headers(stream: int, block: bytes) -> bytes:
    """A header block in as many frames as it takes."""
    parts = [block[at : at + _FRAME] for at in range(0, len(block), _FRAME)] or [b""]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    flags = [0] * (len(parts) - 1) + [END_HEADERS]
    return b"".join(map(frame, kinds, flags, [stream] * len(parts), parts))


def message(data: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """A message with gRPC's five bytes before it; ``length``: what they claim."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


def _length(size: int) -> bytes:
    """RFC 7541 section 5.1, with a prefix of seven bits."""
    if size < 127:
        return bytes([size])
    size -= 127
    out = bytearray([127])
    while size >= 128:
        out.append(size % 128 + 128)
        size //= 128
    out.append(size)
    return bytes(out)


class Raw:
    """A connection on which anything can be sent. Closed at the end, as by RST if it must be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> bool:
        """Send it; False if the server has hung up."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return not self.writer.transport.is_closing()

    async def greet(self, settings: bytes = b"") -> None:
        """Be an HTTP/2 client that has read the server's settings: before that is acknowledged, its
        limits don't hold."""
        await self.send(PREFACE + frame(SETTINGS, payload=settings))
        while (got := await self.read()) is not None and got[:2] != (SETTINGS, 0):
            pass
        await self.send(frame(SETTINGS, ACK))

    async def call(self, stream: int, path: str | bytes, *more: Field, body: bytes = b"") -> None:
        """A whole request."""
        await self.send(
            headers(stream, request(path, *more)) + frame(DATA, END_STREAM, stream, body)
        )

    async def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return Frame(kind, flags, stream, payload)

    async def hung_up(self) -> list[Frame]:
        """Read until the server closes the connection; what it said before."""
        seen = []
        while (got := await self.read()) is not None:
            seen.append(got)
        return seen

    async def status(self, stream: int) -> tuple[int, str]:
        """The status and message that end ``stream``; (-1, reason) for a reset or a hang-up."""
        while (got := await self.read()) is not None:
            if got.kind == RST_STREAM and got.stream == stream:
                return -1, f"reset {int.from_bytes(got.payload, 'big')}"
            if got.kind == HEADERS and (found := _STATUS.search(got.payload)):
                return int(found[1]), _message(got.payload)
            if got.kind == GOAWAY:
                return -1, f"goaway {int.from_bytes(got.payload[4:8], 'big')} {got.payload[8:]!r}"
        return -1, "hung up"


def _message(block: bytes) -> str:
    found = _MESSAGE.search(block)
    if found is None:
        return ""
    size = found[1][0]
    for place, byte in enumerate(found[1][1:]):
        size += (byte & 0x7F) << 7 * place
    return block[found.end() :][:size].decode("utf-8", "replace")
