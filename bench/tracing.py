"""The OpenTelemetry SDK as every traced row has it: batches, and an exporter that drops them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased


class DroppedSpans(SpanExporter):
    """Counts spans and forgets them: what a backend's protocol costs is not seawall's."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.count += len(spans)
        return SpanExportResult.SUCCESS


def set_up(sampling: float) -> Callable[[], int]:
    """Set this process's tracer provider; ``sampling`` is the share of traces kept.

    Returns what exports the spans that still wait, so that a burst pays for its own, and tells how
    many there have been. There is no ``MeterProvider``: with one the SDK would measure itself at
    each span.
    """
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampling)))
    exporter = DroppedSpans()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    def flush() -> int:
        provider.force_flush()
        return exporter.count

    return flush
