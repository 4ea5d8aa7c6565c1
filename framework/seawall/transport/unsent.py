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
SURE_AFTER: Final = 0.02
"""Seconds in which a connection's end is heard of that has ended an attempt; mostly it is before,
and under load in one of sixty cases up to some milliseconds later (measured)."""

_BEGINNINGS: Final = (
    "failed to connect to all addresses",
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


def says_unsent(code: StatusCode, details: str) -> bool:
    """Whether these are the core's words of an attempt that no server has seen.

    A server may hand on the words of a failure of its own, for a call that it has run. So they
    count only if the connection was lost meanwhile, as it always is with the core's own.
    """
    return code is StatusCode.UNAVAILABLE and (
        details.startswith(_BEGINNINGS) or _QUEUED.fullmatch(details) is not None
    )


def in_own_words(details: str) -> str:
    """What to tell the caller of such an attempt. If he hands that on it doesn't begin as the
    core's words do."""
    return _SO + details
