"""Setting OpenTelemetry up from the standard ``OTEL_*`` variables."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace

from seawall.errors import ConfigError
from seawall.telemetry.endpoint import serve_metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "metrics"]

_PROMETHEUS = "prometheus"
_log = logging.getLogger("seawall.telemetry")


def set_up_tracing(default_service_name: str) -> bool:
    """Install an SDK tracer provider if the environment asks for one; True if it did.

    It does if ``OTEL_TRACES_EXPORTER`` names exporters, or an OTLP endpoint is given, unless
    ``OTEL_SDK_DISABLED`` is true or a provider is installed already. Sampler, resource and
    batching are read from their own variables by the SDK. Raises ``ConfigError`` for an
    exporter that isn't installed.
    """
    wanted = _wanted("traces")
    if not wanted or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return False
    # Not at the top: the SDK costs 50 ms of import, and most processes don't ask for it.
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(default_service_name))
    for name in wanted:
        provider.add_span_processor(BatchSpanProcessor(_exporter("traces", name)))
    trace.set_tracer_provider(provider)
    _log.info("tracing to %s", ", ".join(wanted))
    return True


def set_up_metrics(default_service_name: str) -> bool:
    """Install an SDK meter provider if the environment asks for one; True if it did.

    As ``set_up_tracing``, with ``OTEL_METRICS_EXPORTER``; how often is exported the SDK reads from
    ``OTEL_METRIC_EXPORT_INTERVAL``. The exporter ``prometheus`` is seawall's own endpoint, at
    ``OTEL_EXPORTER_PROMETHEUS_HOST`` and ``OTEL_EXPORTER_PROMETHEUS_PORT`` (localhost, 9464).
    Raises ``ConfigError`` for an exporter that isn't installed, ``ServiceError`` for an address
    that can't be listened on.
    """
    wanted = _wanted("metrics")
    if _PROMETHEUS in wanted:
        wanted.remove(_PROMETHEUS)
        serve_metrics(_prometheus_address())
    if not wanted or _has_meter_provider():
        return False
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    readers = [PeriodicExportingMetricReader(_exporter("metrics", name)) for name in wanted]
    metrics.set_meter_provider(MeterProvider(readers, _resource(default_service_name)))
    _log.info("metrics to %s", ", ".join(wanted))
    return True


def _wanted(signal: Signal) -> list[str]:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER")
    if named is None:
        own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
        return ["otlp"] if any(map(os.environ.get, ("OTEL_EXPORTER_OTLP_ENDPOINT", own))) else []
    return [name.strip() for name in named.split(",") if name.strip() not in ("", "none")]


def _has_meter_provider() -> bool:
    # Who has set one has imported the API.
    api = sys.modules.get("opentelemetry.metrics")
    if api is None:
        return False
    return not type(api.get_meter_provider()).__name__.startswith("_Proxy")


def _prometheus_address() -> str:
    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost"
    port = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT") or "9464"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resource(default_service_name: str) -> Resource:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: default_service_name}))
    return resource


def _exporter(signal: Signal, name: str) -> Any:
    if name == "console":
        return _console(signal)
    if name == "otlp":
        protocol = os.environ.get(
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
        ) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        name = "otlp_proto_http" if protocol == "http/protobuf" else "otlp_proto_grpc"
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return found.load()()
    hint = "pip install opentelemetry-exporter-otlp" if "otlp" in name else "install its package"
    raise ConfigError(
        f"OTEL_{signal.upper()}_EXPORTER", f"the exporter {name!r} is not installed: {hint}"
    )


def _console(signal: Signal) -> Any:
    if signal == "traces":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter()
