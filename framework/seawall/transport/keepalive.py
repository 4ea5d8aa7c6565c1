"""Keep-alive presets of both sides, in one place so that they match.

A client that pings more often than the server permits is cut off (GOAWAY ``too_many_pings``), so a
client pings fast only where the instance's registration says that it may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from seawall.call import JSON
from seawall.transport.unsent import retry_options

Options = list[tuple[str, int]]

PERMITTED: Final = "keepalive_permitted_ms"
"""The key in an instance's metadata: the least interval of pings that its server permits."""

SERVER_PERMITS_MS: Final = 4000

_PING_EVERY_MS: Final = 5000
_PING_TIMEOUT_MS: Final = 2000  # a frozen peer is found after 7 s (measured); see docs

SERVER_OPTIONS: Final[Options] = [
    ("grpc.http2.min_ping_interval_without_data_ms", SERVER_PERMITS_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", SERVER_PERMITS_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client that vanished without a word would keep its streams for ever.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Who connects and says nothing is let go after 10 s; gRPC's own 120 s would let a stranger who
    # opens eight connections a second hold a thousand of them. A client's first words are sent at
    # once.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # The limit of metadata holds once the peer has acknowledged it; who doesn't is let go as well.
    ("grpc.http2.settings_timeout", 10_000),
    # An open stream costs about 11 KB here, so a single connection can take 110 MB. Less would make
    # well-meant callers wait in their own cores, where no admission control sees them.
    ("grpc.max_concurrent_streams", 10_000),
]


MAX_MESSAGE: Final = 4 << 20
"""gRPC's own limit of what a message has, decompressed."""


def server_options(
    age: float | None,
    grace: float | None,
    max_message: int | None = None,
    connections: int | None = None,
) -> Options:
    """The options of a server; see ``Settings`` for ``max_connection_age``, ``grace`` and
    ``max_message_bytes``. ``connections``: how many it takes at a time; None = any number."""
    options = [
        *SERVER_OPTIONS,
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message or MAX_MESSAGE),
    ]
    if connections is not None:
        options.append(("grpc.max_allowed_incoming_connections", connections))
    if age is not None:
        # gRPC spreads it by 10 % up and down, so that clients don't all come back at once.
        options += [
            ("grpc.max_connection_age_ms", int(age * 1000)),
            ("grpc.max_connection_age_grace_ms", int((grace or 0.0) * 1000)),
        ]
    return options


_CONNECT: Final[Options] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]

_FAST_PINGS: Final[Options] = [
    ("grpc.keepalive_time_ms", _PING_EVERY_MS),
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


def channel_options(metadata: Mapping[str, JSON]) -> Options:
    """The options of a connection to an instance with these facts."""
    permitted = metadata.get(PERMITTED)
    if isinstance(permitted, int | float) and 0 < permitted <= _PING_EVERY_MS:
        return _CONNECT + retry_options() + _FAST_PINGS
    return _CONNECT + retry_options()
