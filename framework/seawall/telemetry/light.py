"""Light spans on the OpenTelemetry SDK's pipeline: its sampler, its processors, its resource.

Imported only where the SDK's tracer is in use, as the SDK is slow to import.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, TraceFlags

from seawall.telemetry.spans import SCOPE, Spans

_UNSET: Final = Status()
_DROPPED: Final = TraceFlags(TraceFlags.DEFAULT)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class LightSpan(ReadableSpan, trace.Span):
    """A span that costs a fifth of the SDK's: no locks, no limits, as one call alone writes it."""

    def __init__(self, processor: Any, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self._processor = processor

    def get_span_context(self) -> SpanContext:
        assert self._context is not None
        return self._context

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self._attributes[key] = value  # type: ignore[index]

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._attributes.update(attributes)  # type: ignore[union-attr]

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._status = status if isinstance(status, Status) else Status(status, description)

    def update_name(self, name: str) -> None:
        self._name = name

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._events = (*self._events, Event(name, attributes, timestamp))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        facts = {
            "exception.type": type(exception).__qualname__,
            "exception.message": str(exception),
            **(attributes or {}),
        }
        self.add_event("exception", facts, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._processor.on_end(self)


class LightSpans(Spans):
    """Makes light spans where the SDK's tracer would make its own."""

    def __init__(self, tracer: Any) -> None:
        super().__init__(tracer)
        self._sampler = tracer.sampler
        self._processor = tracer.span_processor
        self._resource = tracer.resource
        self._ids = tracer.id_generator
        self._scope = InstrumentationScope(SCOPE)

    def start(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], parent: Context
    ) -> tuple[trace.Span | None, SpanContext]:
        above: SpanContext | None = trace.get_current_span(parent).get_span_context()
        if above is not None and above.is_valid:
            trace_id = above.trace_id
        else:
            above, trace_id = None, self._ids.generate_trace_id()
        result = self._sampler.should_sample(parent, trace_id, name, kind, facts, ())
        decision = result.decision
        if decision is Decision.RECORD_ONLY:  # rare, and not worth a way of its own
            return super().start(name, kind, facts, parent)
        flags = _SAMPLED if decision is Decision.RECORD_AND_SAMPLE else _DROPPED
        spanned = SpanContext(
            trace_id, self._ids.generate_span_id(), False, flags, result.trace_state
        )
        if decision is Decision.DROP:
            return None, spanned
        span = self._make(name, spanned, above, dict(result.attributes or facts), kind)
        self._processor.on_start(span, parent_context=parent)
        return span, spanned

    def start_child(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], parent: trace.Span
    ) -> trace.Span:
        above = parent.get_span_context()
        spanned = SpanContext(
            above.trace_id, self._ids.generate_span_id(), False, _SAMPLED, above.trace_state
        )
        span = self._make(name, spanned, above, dict(facts), kind)
        self._processor.on_start(span, parent_context=trace.set_span_in_context(parent))
        return span

    def _make(
        self,
        name: str,
        spanned: SpanContext,
        above: SpanContext | None,
        facts: dict[str, Any],
        kind: SpanKind,
    ) -> LightSpan:
        return LightSpan(
            self._processor,
            name,
            spanned,
            above,
            self._resource,
            facts,
            kind=kind,
            status=_UNSET,
            start_time=time.time_ns(),
            instrumentation_scope=self._scope,
        )
