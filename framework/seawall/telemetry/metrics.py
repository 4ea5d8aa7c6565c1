"""The metrics of this process: off, and without any cost, while nobody reads them.

``serve_metrics`` (``endpoint``) turns them on, and so does a meter provider of OpenTelemetry's SDK,
be it the user's own or one that ``set_up_metrics`` (``setup``) has installed.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from seawall.call import Call
from seawall.events import Event, Repair

if TYPE_CHECKING:
    from seawall.telemetry.process import Process
    from seawall.telemetry.store import Metrics

# What measures is imported when it is turned on: most processes never need it.

_lock = threading.Lock()
_metrics: Metrics | None = None
_process: Process | None = None


def metrics() -> Metrics | None:
    """What is measured in this process; None while nobody reads it.

    Looked at when a channel or a server is made: what was made before is not measured.
    """
    provider = _sdk_provider()
    if provider is not None:
        from seawall.telemetry.sdk_metrics import feed

        feed(turn_on(), provider)
    return _metrics


def turn_on() -> Metrics:
    """Measure from now on, for whoever is to read it."""
    global _metrics, _process
    from seawall.telemetry.process import Process
    from seawall.telemetry.store import Metrics

    with _lock:
        if _metrics is None:
            _metrics, _process = Metrics(), Process()
            _metrics.watch(_process, Process.readings)
        return _metrics


def _forked() -> None:
    """A child that was forked has none of the threads that read, and perhaps locks that nobody
    will ever release: it begins with nothing."""
    global _lock, _metrics, _process
    _lock, _metrics, _process = threading.Lock(), None, None


os.register_at_fork(after_in_child=_forked)


def _sdk_provider() -> Any:
    """The meter provider, if it is the SDK's. Who has set one has imported the API, which is not
    free to import."""
    api = sys.modules.get("opentelemetry.metrics")
    provider = None if api is None else api.get_meter_provider()
    return provider if type(provider).__module__.startswith("opentelemetry.sdk.") else None


def count_event(event: Event) -> None:
    """Count what the listener is told."""
    if _metrics is None:
        return
    from seawall.telemetry import catalogue

    _metrics.counter(catalogue.EVENTS, type(event).__name__).add()
    if isinstance(event, Repair):
        _metrics.counter(catalogue.REPAIRS, event.kind).add()


class Fallbacks:
    """Counts the answers that no server has just given, by method and kind."""

    def __init__(self, counted: Metrics | None) -> None:
        self._metrics = counted

    def __call__(self, call: Call, kind: str) -> None:
        if self._metrics is not None:
            from seawall.telemetry import catalogue

            self._metrics.counter(catalogue.FALLBACKS, call.method.path[1:], kind).add()
