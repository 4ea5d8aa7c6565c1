"""OpenTelemetry for the demo: every process appends its sampled spans to one file.

A real deployment sets ``OTEL_TRACES_EXPORTER=otlp`` and needs none of this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

FILE: Final = "SHOP_TRACES"
"""Environment: the file that spans are appended to; unset = no tracing."""
RATIO: Final = 0.01
"""How much is sampled where no caller has decided."""


class FileExporter(SpanExporter):
    """Appends one JSON object a span, each batch in one write, so processes can share the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(_plain(span)) + "\n" for span in spans)
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, lines.encode())
            finally:
                os.close(descriptor)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _plain(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    return {
        "trace": f"{context.trace_id:032x}",
        "id": f"{context.span_id:016x}",
        "parent": f"{parent.span_id:016x}" if parent else None,
        "name": span.name,
        "kind": span.kind.name,
        "process": span.resource.attributes.get("service.instance.id"),
        "start": span.start_time,
        "end": span.end_time,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "events": [event.name for event in span.events],
    }


def provider(path: Path, process: str, *, always: bool = False) -> TracerProvider:
    """A provider that writes to ``path``: the caller's decision is kept; a trace that starts here
    is sampled at ``RATIO``, or always."""
    resource = Resource({"service.name": "shop", "service.instance.id": process})
    root = ALWAYS_ON if always else TraceIdRatioBased(RATIO)
    made = TracerProvider(sampler=ParentBased(root), resource=resource, shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(FileExporter(path)))
    return made


def set_up(process: str) -> None:
    """Trace this process if ``SHOP_TRACES`` says where to; ``process`` is its name in the tree."""
    path = os.environ.get(FILE)
    if path:
        trace.set_tracer_provider(provider(Path(path), process))
