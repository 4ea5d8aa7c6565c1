"""The server's span of a call, as a child of the caller's."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, Tracer

from seawall.telemetry import names


class ServerSpans:
    """Begins and ends SERVER spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, path: str, context: Any, *, attach: bool = True) -> Span:
        """A span for the call of ``path``; with ``attach`` it is the current one of this task."""
        carrier = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        parent = propagate.extract(carrier)
        name = names.method_name(path)
        span = self._tracer.start_span(
            name,
            parent,
            kind=SpanKind.SERVER,
            attributes={names.RPC_SYSTEM: names.GRPC, names.RPC_METHOD: name},
        )
        if attach:
            otel_context.attach(trace.set_span_in_context(span, parent))
        return span

    @staticmethod
    def end(span: Span, code: StatusCode, error: BaseException | None = None) -> None:
        """End a span with the status that the caller is sent."""
        if span.is_recording():
            span.set_attribute(names.STATUS_CODE, code.name)
            if code in names.SERVER_ERRORS:
                span.set_attribute(
                    names.ERROR_TYPE, type(error).__qualname__ if error else code.name
                )
                span.set_status(Status(trace.StatusCode.ERROR))
        span.end()
