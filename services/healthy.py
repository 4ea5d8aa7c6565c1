"""Asks the service in this container whether it serves: the health check of the image.

It speaks gRPC's health protocol by hand, over a plain socket. To import gRPC costs far more
CPU than the question, and every container asks it every 5 s.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Final

PATIENCE: Final = 2.0
"""Seconds for the whole question; Docker's own timeout is 3 s (Dockerfile)."""
HOST: Final = "127.0.0.1"

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7  # RFC 9113, section 6
_END_STREAM, _END_HEADERS, _PADDED = 1, 4, 8
_LONGEST_FRAME: Final = 16_384
"""Bytes. Nobody may send longer ones to who has not allowed it (RFC 9113, section 4.2)."""
_EMPTY_REQUEST: Final = bytes(5)
"""A gRPC message without content, not compressed: the health of the whole server is asked."""
_SERVING: Final = b"\x08\x01"
"""HealthCheckResponse{status: SERVING}."""


class NotHealthy(Exception):
    """It does not serve; the text says what is known of why."""


def check(host: str, port: int, patience: float = PATIENCE) -> None:
    """Return if the server says SERVING within ``patience`` seconds. Raises ``NotHealthy``."""
    end = time.monotonic() + patience
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            connection.sendall(_question(f"{host}:{port}"))
            answer = _answer(connection, end)
    except TimeoutError:
        raise NotHealthy(f"no answer within {patience:g} s") from None
    except OSError as error:
        raise NotHealthy(error.strerror or str(error)) from None
    if answer != _SERVING:
        raise NotHealthy(f"it says that it does not serve ({answer.hex(' ') or 'UNKNOWN'})")


def _question(authority: str) -> bytes:
    """All that has to be sent."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(_literal(name, value) for name, value in headers.items())
    return b"".join(
        (
            _PREFACE,
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, block),
            _frame(_DATA, _END_STREAM, 1, _EMPTY_REQUEST),
        )
    )


def _literal(name: str, value: str) -> bytes:
    """A header field, not indexed, names and values shorter than 127 bytes (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _answer(connection: socket.socket, end: float) -> bytes:
    """The response message, without gRPC's five bytes before it."""
    body = b""
    while len(body) < 5 or len(body) < 5 + int.from_bytes(body[1:5], "big"):
        kind, flags, stream, payload = _read_frame(connection, end)
        if kind == _DATA and stream == 1:
            padding = payload[0] if payload and flags & _PADDED else None
            body += payload if padding is None else payload[1 : len(payload) - padding]
        ended = kind == _HEADERS and flags & _END_STREAM
        if ended or (kind == _RST_STREAM and stream == 1) or kind == _GOAWAY:
            raise NotHealthy("it answers with an error, or is about to leave")
        if len(body) > _LONGEST_FRAME:
            raise NotHealthy("it answers with something else than a health status")
    return body[5:]


def _read_frame(connection: socket.socket, end: float) -> tuple[int, int, int, bytes]:
    head = _read(connection, 9, end)
    length = int.from_bytes(head[:3], "big")
    if length > _LONGEST_FRAME:
        raise NotHealthy("it does not speak HTTP/2")
    stream = int.from_bytes(head[5:9], "big") & 0x7FFF_FFFF
    return head[3], head[4], stream, _read(connection, length, end)


def _read(connection: socket.socket, count: int, end: float) -> bytes:
    read = b""
    while len(read) < count:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        part = connection.recv(count - len(read))
        if not part:
            raise NotHealthy("it closed the connection")
        read += part
    return read


def main() -> int:
    port = os.environ.get("SEAWALL_PORT", "50051")
    try:
        check(HOST, int(port))
    except (NotHealthy, ValueError) as error:
        print(f"{HOST}:{port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
