"""Which of gRPC's failures say that no server has run the call, by the words of its core.

The core knows it, and by itself sends such a call again (gRFC A6: transparent retries): over the
same channel, so to the server that just hung up, and without an end where that one takes only few
streams. It tells nobody else but by its words, and the layer that does it costs a call as much as
its span and its metrics together (docs/performance.md). So the core's retries are off where its
words are known; the retry layer sends the call to another instance at once.

What the words are was seen with the versions below. With any other one, and with
``SEAWALL_GRPC=public``, the core's retries stay on: where its words have changed, a call that
nobody has run would else be lost if its method isn't idempotent.
"""

from __future__ import annotations

import re
from typing import Final

import grpc
from grpc import StatusCode

from seawall.transport.batches import public_only

_KNOWN: Final = ("1.84.", "1.85.")
_NEVER_CONNECTED: Final = "failed to connect to all addresses"
_GONE_BEFORE: Final = (
    # The stream's number is above the last one that the server's GOAWAY says it looks at
    # (RFC 9113 section 6.8), or it had not been given one. Where the server may have seen it,
    # the words are "Socket closed (GOAWAY received" and the like.
    "Stream removed (GOAWAY received;",
    # It came when the connection had ended.
    "Stream removed (Transport closed (",
)
_QUEUED: Final = re.compile(r"\S+: subchannel lost all connections")
"""After the address that was to be called: it had waited for one of the streams that the server
takes at a time."""
_SO: Final = "it never reached the server: "


def retry_options() -> list[tuple[str, int]]:
    """The channel options for retries of the core's own."""
    return [("grpc.enable_retries", 0)] if words_known() else []


def words_known() -> bool:
    """Whether this is a version of gRPC whose words have been looked at, and nobody minds."""
    return grpc.__version__.startswith(_KNOWN) and not public_only()


def unsent(code: StatusCode, details: str, *, connected: bool) -> str | None:
    """What to say of an attempt that provably reached no server; None of any other one.

    A server may hand on the words of a failure of its own. "Failed to connect" can't be said of a
    server that we are connected to. The others' meaning is put before them, in what their caller
    is told: handed on they don't begin as the core's do.
    """
    if code is not StatusCode.UNAVAILABLE:
        return None
    if details.startswith(_NEVER_CONNECTED):
        return None if connected else details
    return _SO + details if details.startswith(_GONE_BEFORE) or _QUEUED.fullmatch(details) else None
