"""Where spans come from: light ones of seawall's own on the SDK's pipeline, or the tracer's.

The SDK's ``start_span`` costs about 25 us a span and a no-op span about 8; a call has two spans and
a whole unary call costs about 130 us. So with the SDK's own tracer seawall asks the sampler itself,
makes no object for what is not sampled, and hands light spans to the SDK's processors. Any other
tracer is used as the API says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Tracer

SCOPE: Final = "seawall"
Headers = tuple[tuple[str, str | bytes], ...]


class Spans:
    """Starts spans through any tracer, by the API. Subclasses know shorter ways."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._plain_w3c = _writes_plain_w3c()

    def begin(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], current: Context
    ) -> tuple[Span | None, Headers]:
        """A span if it is recorded; if not, the headers that tell the callee so."""
        span, spanned = self.start(name, kind, facts, current)
        return span, (() if span is not None else self.headers(spanned, current))

    def start(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], parent: Context
    ) -> tuple[Span | None, SpanContext]:
        """A span if it is recorded, else None, and in any case the context to propagate."""
        span = self._tracer.start_span(name, parent, kind=kind, attributes=facts)
        return (span if span.is_recording() else None), span.get_span_context()

    def start_child(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], parent: Span
    ) -> Span:
        """A span below one that is recorded; so it is recorded too."""
        return self._tracer.start_span(
            name, trace.set_span_in_context(parent), kind=kind, attributes=facts
        )

    def headers(self, spanned: SpanContext, current: Context) -> Headers:
        """The metadata that carries a span's context, as the propagators that are set write it."""
        if self._plain_w3c and not (current and baggage.get_all(current)):
            value = f"00-{spanned[0]:032x}-{spanned[1]:016x}-{spanned[3]:02x}"
            state = spanned.trace_state
            if state is not trace.DEFAULT_TRACE_STATE and state:
                return (("traceparent", value), ("tracestate", state.to_header()))
            return (("traceparent", value),)
        carrier: dict[str, str] = {}
        holder = trace.NonRecordingSpan(spanned)
        propagate.inject(carrier, trace.set_span_in_context(holder, current))
        return tuple((key.lower(), value) for key, value in carrier.items())


def tracing_is_on() -> bool:
    """Whether an SDK (or another real provider) is set up.

    Looked at once, when a channel or server is made: a proxy for one that may come later would
    cost something at every call.
    """
    return not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider
    )


def spans() -> Spans | None:
    """How to make spans in this process; None if nobody traces."""
    if not tracing_is_on():
        return None
    tracer = trace.get_tracer(SCOPE)
    if type(tracer).__module__ == "opentelemetry.sdk.trace":
        from seawall.telemetry.light import LightSpans

        return LightSpans(tracer)
    return Spans(tracer)


def _writes_plain_w3c() -> bool:
    """Whether the propagators that are set write W3C's ``traceparent`` and nothing more."""
    carrier: dict[str, str] = {}
    probe = SpanContext(1, 1, is_remote=False)
    propagate.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(probe), Context()))
    return list(carrier) == ["traceparent"]


def current() -> Context:
    return context.get_current()
