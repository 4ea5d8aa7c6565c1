"""``grpc.health.v1`` on the server's port: the health protocol, with ``List`` and ``LIVENESS``.

What it says of ``""`` and of a service is *readiness*: whether it should be sent calls. A process
that is not ready is in order, and must not be restarted. Whether it should be is asked under the
name of ``LIVENESS``: see ``listener``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2

SERVING: Final[int] = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final[int] = health_pb2.HealthCheckResponse.NOT_SERVING

LIVENESS: Final = "seawall.liveness"
"""The name under which the health protocol tells whether the process should be left alone. It is
no service: ``List`` doesn't name it."""

MOST_LISTED = 100
"""Above that, ``List`` answers RESOURCE_EXHAUSTED (gRFC A90)."""


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The health of a server (``""``) and of each of its services.

    grpcio's own servicer answers ``Check`` and ``Watch``; it knows no ``List``.
    """

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__()
        self._status = NOT_SERVING
        self._away: set[str] = set()
        self._leaving = False
        self.started = False
        """Whether it has been SERVING: a process that starts may block its loop for long."""
        self.statuses = dict.fromkeys(("", *services), NOT_SERVING)
        """Of the server and of each service. May be read from any thread."""

    async def apply(self) -> None:
        """Make the current statuses known, also to those who watch."""
        for service, status in self.statuses.items():
            await self.set(service, status)
        # On this port the loop itself answers: whoever gets an answer sees that it turns.
        await self.set(LIVENESS, SERVING)

    async def set_all(self, status: int) -> None:
        self._status = status
        self.started = self.started or status == SERVING
        await self._refresh()

    async def stand_aside(self, services: Iterable[str], *, away: bool) -> None:
        """A service that wants no calls, as it is paused or not ready, is NOT_SERVING; the whole
        server is when all of them are."""
        if away:
            self._away |= set(services)
        else:
            self._away -= set(services)
        await self._refresh()

    async def _refresh(self) -> None:
        for service in self.statuses:
            away = self._leaving or service in self._away
            self.statuses[service] = NOT_SERVING if away else self._status
        if self._away.issuperset(service for service in self.statuses if service):
            self.statuses[""] = NOT_SERVING
        await self.apply()

    async def enter_graceful_shutdown(self) -> None:
        """NOT_SERVING from now on, whatever is set; but alive, until it has left in good order."""
        self._leaving = True
        await self._refresh()

    async def List(self, request: Any, context: Any) -> Any:
        statuses = dict(self.statuses)
        if len(statuses) > MOST_LISTED:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many(statuses))
        return listing(statuses)


def listing(statuses: dict[str, int]) -> Any:
    """What ``List`` answers."""
    Response = health_pb2.HealthCheckResponse  # noqa: N806
    return health_pb2.HealthListResponse(
        statuses={name: Response(status=status) for name, status in statuses.items()}
    )


def too_many(statuses: dict[str, int]) -> str:
    """Why ``List`` refuses."""
    return f"{len(statuses)} services are more than List gives ({MOST_LISTED})"
