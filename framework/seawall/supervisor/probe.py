"""Asking a worker by the gRPC health protocol whether it lives."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seawall.supervisor.liveness import Answer
from seawall.supervisor.protocol import LIVENESS

LIMIT: Final = 1.0
"""Seconds for an answer."""
_STRANGERS: Final = (StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED)
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)


class Probe:
    """A connection for the questions to one process."""

    def __init__(self, target: str) -> None:
        """``target`` as gRPC names it, ``unix:/path`` or ``host:port``."""
        self._channel = aio.insecure_channel(target, options=_OPTIONS)
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    async def ask(self) -> Answer:
        """Whether it lives. Never raises for what the worker does.

        A server that does not know the name answers, which is a sign of life as well.
        """
        request = health_pb2.HealthCheckRequest(service=LIVENESS)
        try:
            answer = await self._stub.Check(request, timeout=LIMIT)
        except aio.AioRpcError as error:
            return Answer.ALIVE if error.code() in _STRANGERS else Answer.SILENT
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Answer.ALIVE if serving else Answer.WEDGED

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()
