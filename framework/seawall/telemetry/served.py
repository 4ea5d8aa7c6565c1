"""What is told of each call that is served: it is counted, and logged if that is asked for."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from seawall.telemetry import catalogue
from seawall.telemetry.access_log import AccessLog
from seawall.telemetry.calls import Durations
from seawall.telemetry.store import Metrics


class Served:
    """The calls of one method. ``began`` and ``ended`` may be called on any thread."""

    __slots__ = ("_access", "_durations", "_name", "_started")

    def __init__(self, path: str, metrics: Metrics | None, access: AccessLog | None) -> None:
        self._name = name = path[1:]
        self._access = access
        self._started = None if metrics is None else metrics.counter(catalogue.SERVER_STARTED, name)
        self._durations = (
            None if metrics is None else Durations(metrics, catalogue.SERVER_DURATION, name)
        )

    def began(self) -> None:
        """A call has come."""
        if self._started is not None:
            self._started.add()

    def ended(self, code: StatusCode, seconds: float, context: Any) -> None:
        """It has ended with ``code``, after ``seconds``. To be called where the call's span is the
        current one, so that the log can name it. ``context`` is gRPC's."""
        if self._durations is not None:
            self._durations.record(code, seconds)
        if self._access is not None:
            self._access.note(self._name, code, seconds, context)
