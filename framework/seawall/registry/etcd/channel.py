"""How a connection to an endpoint is made."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from grpc import aio

from seawall.registry.etcd.rpc import Away
from seawall.registry.etcd.tls import credentials
from seawall.registry.etcd.url import EtcdUrl

OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Also the limit of one attempt to connect; below TIMEOUT, so that a dead host and a slow
    # answer can be told apart.
    ("grpc.min_reconnect_backoff_ms", 900),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A silent peer is noticed within 7 s even if only watches are open. etcd by default refuses
    # pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 2000),
    # Nor does it allow any while no call runs; nobody waits for anything then.
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # Its probes are pings too, and would count against that limit.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # The list of a large fleet is larger than gRPC's 4 MiB, and would never arrive.
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A new session must mean a new connection.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(url: EtcdUrl, endpoint: str) -> aio.Channel:
    """A channel of its own; it connects when it is used. Raises ``RegistryError`` for bad files."""
    options = list(OPTIONS)
    if not url.tls:
        return aio.insecure_channel(endpoint, options=options)
    return aio.secure_channel(endpoint, credentials(url), options=options)


async def knock(endpoint: str, timeout: float) -> None:
    """Raise ``Away`` if nobody listens there: ten times cheaper to know than by gRPC."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        problem = f"etcd at {endpoint} does not answer ({_plain(error)})"
        raise Away(problem) from None
    writer.transport.abort()


def _plain(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no reply to an attempt to connect"
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    # With several addresses, asyncio puts the reasons of all of them into one text.
    refused = f"[Errno {errno.ECONNREFUSED}]" in str(error)
    return "connection refused" if refused else error.strerror or str(error)
