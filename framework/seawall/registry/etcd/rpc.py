"""etcd's methods, and what its errors mean for us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode
from grpc.aio import AioRpcError

from seawall.errors import RegistryError, RegistryUnavailable
from seawall.registry.etcd import wire_pb2 as wire

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request, Reply]):
    """One of etcd's methods."""

    path: str
    request: type[Request]
    reply: type[Reply]
    patience: float = 1.0
    """How many times the session's deadline it may take."""


# What is written goes through a majority's disks, hence twice the time of a read.
TXN: Final = Rpc("/etcdserverpb.KV/Txn", wire.TxnRequest, wire.TxnResponse, 2.0)
RANGE: Final = Rpc("/etcdserverpb.KV/Range", wire.RangeRequest, wire.RangeResponse)
GRANT: Final = Rpc(
    "/etcdserverpb.Lease/LeaseGrant", wire.LeaseGrantRequest, wire.LeaseGrantResponse, 2.0
)
REVOKE: Final = Rpc(
    "/etcdserverpb.Lease/LeaseRevoke", wire.LeaseRevokeRequest, wire.LeaseRevokeResponse
)
# etcd checks a password with bcrypt, on purpose slowly; many processes may come at once.
AUTHENTICATE: Final = Rpc(
    "/etcdserverpb.Auth/Authenticate", wire.AuthenticateRequest, wire.AuthenticateResponse, 3.0
)
KEEP_ALIVE: Final = Rpc(
    "/etcdserverpb.Lease/LeaseKeepAlive", wire.LeaseKeepAliveRequest, wire.LeaseKeepAliveResponse
)
WATCH: Final = Rpc("/etcdserverpb.Watch/Watch", wire.WatchRequest, wire.WatchResponse)


class Away(RegistryUnavailable):
    """This endpoint doesn't answer, or can't serve: go to another one."""


class Slow(Away):
    """It took the request, but did not answer in time."""


class Busy(RegistryUnavailable):
    """The endpoint answers, but not this, not now: ask it again later."""


class StaleToken(RegistryUnavailable):
    """Our token isn't valid (any more): authenticate again."""


class BadTls(RegistryError):
    """One side does not accept the other's certificate, or one of them speaks no TLS."""


class NoSuchLease(Exception):
    """The lease has expired or was revoked."""


class AuthenticationOff(Exception):
    """etcd wants no user: its authentication is not enabled."""


class Compacted(Exception):
    """The history that the watch needs is gone: list again."""


_AWAY: Final = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
        StatusCode.DATA_LOSS,
    }
)
_BUSY: Final = frozenset({StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED})
_STALE: Final = ("invalid auth token", "revision of auth store is old", "user name is empty")
_BAD_TLS: Final = ("CERTIFICATE", "WRONG_VERSION_NUMBER", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
"""In the names of TLS's own errors and of the alerts that a peer may send."""
_PLAIN_WORDS: Final = {
    "Connection refused": "connection refused",
    "DNS resolution failed": "its name can't be resolved",
    "connection attempt timed out": "no reply to an attempt to connect",
    "No route to host": "no route to host",
    "Network is unreachable": "the network is unreachable",
    "context deadline exceeded": "no reply in time",
    "etcdserver: no leader": "the cluster has no leader",
}


def is_stale(reason: str) -> bool:
    """Whether etcd's words mean that authenticating again would help."""
    return any(words in reason for words in _STALE)


def translate(error: AioRpcError, endpoint: str, user: str) -> Exception:
    """What etcd's or gRPC's error means: one of the classes above, or ``RegistryError``."""
    code, details = error.code(), error.details() or ""
    if code is StatusCode.UNAUTHENTICATED or (user and is_stale(details)):
        return StaleToken(f"etcd at {endpoint} does not accept our token: {details}")
    if code is StatusCode.NOT_FOUND and "lease" in details:
        return NoSuchLease(details)
    if "authentication is not enabled" in details:
        return AuthenticationOff(details)
    if any(words in details for words in _BAD_TLS):
        return BadTls(
            f"etcd at {endpoint} and we can't agree on TLS: check ca, cert and key in the URL"
            f" ({details})"
        )
    if code in _AWAY or "not leader" in details:
        kind = Slow if code is StatusCode.DEADLINE_EXCEEDED else Away
        return kind(_unavailable(code, details, endpoint))
    if code in _BUSY:
        return Busy(f"etcd at {endpoint} answers {details or code.name}")
    return refused(code.name, details, endpoint, user)


def refused(code: str, details: str, endpoint: str, user: str) -> RegistryError:
    """The error for what trying again won't mend, with its mend."""
    if "user name is empty" in details:
        mend = "it wants a user and a password: etcd://user:password@..."
    elif "authentication failed" in details:
        mend = f"the password of user {user!r}, or the user itself, is wrong"
    elif "permission denied" in details:
        mend = f"user {user!r} needs read and write permission for the namespace"
    elif code == StatusCode.UNIMPLEMENTED.name:
        mend = "is it an etcd, version 3.4 or newer?"
    else:
        mend = code
    return RegistryError(f"etcd at {endpoint} refuses: {mend} ({details or code})")


def _unavailable(code: StatusCode, details: str, endpoint: str) -> str:
    for phrase, plain in _PLAIN_WORDS.items():
        if phrase in details:
            return f"etcd at {endpoint} does not answer ({plain})"
    if code is StatusCode.DEADLINE_EXCEEDED:
        return f"etcd at {endpoint} does not answer (no reply in time)"
    return f"etcd at {endpoint} does not answer ({details or code.name})"
