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
        self._status = NOT_SERVING
        self._paused: set[str] = set()
        self.statuses = dict.fromkeys(("", *services), NOT_SERVING)

    async def apply(self) -> None:
        """Make the current statuses known, also to those who watch."""
        for service, status in self.statuses.items():
            await self.set(service, status)

    async def set_all(self, status: int) -> None:
        self._status = status
        await self._refresh()

    async def pause(self, services: Iterable[str], paused: bool) -> None:
        """A paused service is NOT_SERVING; the whole server is when all of them are."""
        if paused:
            self._paused |= set(services)
        else:
            self._paused -= set(services)
        await self._refresh()

    async def _refresh(self) -> None:
        for service in self.statuses:
            self.statuses[service] = NOT_SERVING if service in self._paused else self._status
        if self._paused.issuperset(service for service in self.statuses if service):
            self.statuses[""] = NOT_SERVING
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
