"""Asking an instance by the gRPC health protocol whether it serves."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from grpc import StatusCode, aio

from seawall.call import Endpoint
from seawall.transport.keepalive import PERMITTED

TIMEOUT: Final = 2.0
"""Seconds for an answer, a connection included."""


class Health(Enum):
    """What an instance says of a service."""

    SERVES = "it serves it"
    ANSWERS = "a server answers that does not say what it serves"
    DENIES = "a server answers that does not serve it"
    SILENT = "nobody answers"


class _Check:
    """The method, in the way that connections keep methods."""

    def bind(self, channel: aio.Channel) -> Callable[..., Any]:
        return channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=_messages().HealthCheckRequest.SerializeToString,
            response_deserializer=_messages().HealthCheckResponse.FromString,
        )


_CHECK: Final = _Check()


async def health_of(endpoint: Endpoint, service: str) -> Health:
    """Whether the instance serves ``service``. Never raises; takes 2 s for each of two questions.

    An instance of ours knows its services by name. Another's server may know only its health as a
    whole, or no health protocol at all; and at its address may be anybody by now.
    """
    health = await _ask(endpoint, service)
    if health is not Health.DENIES or _is_ours(endpoint):
        return health
    whole = await _ask(endpoint, "")
    return Health.ANSWERS if whole is Health.SERVES else whole


async def _ask(endpoint: Endpoint, name: str) -> Health:
    connection = endpoint.transport
    try:
        make = connection.callables.get(_CHECK) or connection.bind(_CHECK)
        answer = await make(_messages().HealthCheckRequest(service=name), timeout=TIMEOUT)
    except aio.AioRpcError as error:
        if error.code() is StatusCode.NOT_FOUND:
            return Health.DENIES
        if error.code() is StatusCode.UNIMPLEMENTED:
            return Health.DENIES if _is_ours(endpoint) else Health.ANSWERS
        return Health.SILENT
    except aio.UsageError:  # closed meanwhile
        return Health.SILENT
    serves = answer.status == _messages().HealthCheckResponse.SERVING
    return Health.SERVES if serves else Health.DENIES


def _messages() -> Any:
    """What the protocol is written with. Seldom needed, and protobuf is a fifth of an import."""
    from grpc_health.v1 import health_pb2

    return health_pb2


def _is_ours(endpoint: Endpoint) -> bool:
    return PERMITTED in endpoint.instance.metadata
