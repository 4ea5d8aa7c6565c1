"""``grpc.health.v1``: the health protocol, with ``List``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

MOST_LISTED = 100
"""Above that, ``List`` answers RESOURCE_EXHAUSTED (gRFC A90)."""


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The health of a server (``""``) and of each of its services.

    grpcio's own servicer answers ``Check`` and ``Watch``; it knows no ``List``.
    """

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__()
        self.statuses = dict.fromkeys(("", *services), NOT_SERVING)

    async def apply(self) -> None:
        """Make the current statuses known, also to those who watch."""
        for service, status in self.statuses.items():
            await self.set(service, status)

    async def set_all(self, status: int) -> None:
        self.statuses = dict.fromkeys(self.statuses, status)
        await self.apply()

    async def enter_graceful_shutdown(self) -> None:
        self.statuses = dict.fromkeys(self.statuses, NOT_SERVING)
        await super().enter_graceful_shutdown()

    async def List(self, request: Any, context: Any) -> Any:
        if len(self.statuses) > MOST_LISTED:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(self.statuses)} services are more than List gives ({MOST_LISTED})",
            )
        return health_pb2.HealthListResponse(
            statuses={
                service: health_pb2.HealthCheckResponse(status=status)
                for service, status in self.statuses.items()
            }
        )
