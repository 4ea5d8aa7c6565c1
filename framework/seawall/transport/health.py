"""Asking an instance by the gRPC health protocol whether it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2

from seawall.transport.connection import Connection

TIMEOUT: Final = 2.0
"""Seconds for an answer, a connection included."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING


class _Check:
    """The method, in the way that connections keep methods."""

    def bind(self, channel: aio.Channel) -> Callable[..., Any]:
        return channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )


_CHECK: Final = _Check()


async def is_serving(connection: Connection, service: str) -> bool:
    """Whether the instance answers, and does not say that it can't serve.

    A server without the health protocol, or one that knows only its health as a whole, answers
    too. Never raises, and takes ``TIMEOUT`` seconds at most for each of two questions.
    """
    for name in (service, ""):
        try:
            make = connection.callables.get(_CHECK) or connection.bind(_CHECK)
            request = health_pb2.HealthCheckRequest(service=name)
            answer = await make(request, timeout=TIMEOUT, wait_for_ready=True)
            return bool(answer.status == _SERVING)
        except aio.AioRpcError as error:
            if error.code() is StatusCode.UNIMPLEMENTED:
                return True
            if error.code() is not StatusCode.NOT_FOUND:
                return False
        except aio.UsageError:  # closed meanwhile
            return False
    return True
