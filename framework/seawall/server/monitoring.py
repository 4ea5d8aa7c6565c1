"""What a server tells of itself: metrics, and the access log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seawall.criticality import Criticality
from seawall.server.health.servicer import SERVING
from seawall.server.settings import Settings
from seawall.telemetry import catalogue
from seawall.telemetry.access_log import AccessLog
from seawall.telemetry.endpoint import serve_metrics
from seawall.telemetry.identity import identity
from seawall.telemetry.metrics import metrics
from seawall.telemetry.served import Served
from seawall.telemetry.store import Reading

if TYPE_CHECKING:
    from seawall.server.lifecycle import Server


class Monitoring:
    """As the settings ask for it. Made before anything that is to be measured.

    Raises ``ConfigError`` and ``ServiceError`` for an address that makes no sense, or can't be
    listened on.
    """

    def __init__(self, settings: Settings) -> None:
        address, mode = settings.metrics_address, settings.access_log
        self._version = settings.version or ""
        self._endpoint = serve_metrics(address) if address else None
        self._metrics = metrics()
        self._access = None if mode in (None, "off") else AccessLog(errors_only=mode == "errors")

    def of(self, path: str) -> Served | None:
        """Who is told of the calls of the method at ``path``; None if nobody wants to know."""
        if self._metrics is None and self._access is None:
            return None
        return Served(path, self._metrics, self._access)

    def waited(self, criticality: Criticality, seconds: float) -> None:
        """A call of that class was admitted after a wait."""
        if self._metrics is not None:
            name = criticality.name.lower()
            self._metrics.histogram(catalogue.QUEUE_WAIT, name).record(seconds)

    def watch(self, server: Server, name: str, instance: str) -> None:
        """Tell how ``server`` is, until ``close``; its process is known as ``name`` and
        ``instance`` from now on, in metrics and logs."""
        identity.service, identity.instance = name.lower(), instance
        identity.version = self._version
        if self._metrics is not None:
            self._metrics.watch(server, readings_of)

    async def close(self, server: Server) -> None:
        """The server has stopped."""
        if self._metrics is not None:
            self._metrics.forget(server)
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)


def readings_of(server: Server) -> Iterator[Reading]:
    """How a server is at this moment. Called on any thread."""
    yield catalogue.IN_FLIGHT, (), server.meter.in_flight
    yield catalogue.ANNOUNCED, (), server.announced
    for service, status in list(server.health.statuses.items()):
        yield catalogue.SERVING, (service,), status == SERVING
    yield catalogue.LOOP_LAG, (), server.loop_watch.peak
    yield catalogue.LOOP_BLOCKED, (), server.loop_watch.blocked_seconds
    admission = server.admission
    yield catalogue.QUEUE_LENGTH, (), admission.waiting()
    for labels, count in list(admission.refused.items()):
        yield catalogue.REJECTIONS, labels, count
    if admission.gate.rate is not None:
        yield catalogue.RATE_LIMIT, (), admission.gate.rate
