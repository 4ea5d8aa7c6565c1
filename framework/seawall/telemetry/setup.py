"""Setting OpenTelemetry up from the standard ``OTEL_*`` variables."""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points

from opentelemetry import trace

from seawall.errors import ConfigError

_EXPORTERS = "opentelemetry_traces_exporter"
_log = logging.getLogger("seawall.telemetry")


def set_up_tracing(default_service_name: str) -> bool:
    """Install an SDK tracer provider if the environment asks for one; True if it did.

    It does if ``OTEL_TRACES_EXPORTER`` names exporters, or an OTLP endpoint is given, unless
    ``OTEL_SDK_DISABLED`` is true or a provider is installed already. Sampler, resource and
    batching are read from their own variables by the SDK. Raises ``ConfigError`` for an
    exporter that isn't installed.
    """
    wanted = _wanted()
    if not wanted or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return False
    # Not at the top: the SDK costs 50 ms of import, and most processes don't ask for it.
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: default_service_name}))
    provider = TracerProvider(resource=resource)
    for name in wanted:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    trace.set_tracer_provider(provider)
    _log.info("tracing to %s", ", ".join(wanted))
    return True


def _wanted() -> list[str]:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = os.environ.get("OTEL_TRACES_EXPORTER")
    if named is None:
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        return ["otlp"] if any(os.environ.get(name) for name in endpoints) else []
    return [name.strip() for name in named.split(",") if name.strip() not in ("", "none")]


def _exporter(name: str):  # type: ignore[no-untyped-def]
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
        )
        name = "otlp_proto_http" if protocol == "http/protobuf" else "otlp_proto_grpc"
    for found in entry_points(group=_EXPORTERS, name=name):
        return found.load()()
    hint = "pip install opentelemetry-exporter-otlp" if "otlp" in name else "install its package"
    raise ConfigError("OTEL_TRACES_EXPORTER", f"the exporter {name!r} is not installed: {hint}")
