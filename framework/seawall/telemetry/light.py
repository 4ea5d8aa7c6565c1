"""Light spans on the OpenTelemetry SDK's pipeline: its sampler, its processors, its resource.

Imported only where the SDK's tracer is in use, as the SDK is slow to import.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from random import getrandbits
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, TraceFlags

from seawall.telemetry.spans import SCOPE, Headers, Spans

_log = logging.getLogger("seawall.telemetry")
_UNSET: Final = Status()
_DROPPED: Final = TraceFlags(TraceFlags.DEFAULT)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_LOW_64: Final = (1 << 64) - 1
_DRAWN: Final = 32
"""Roots drawn at a time."""


class LightSpan(ReadableSpan, trace.Span):
    """A span that costs a fifth of the SDK's: no locks, no limits, as one call alone writes it."""

    def __init__(self, processor: Any, *facts: Any) -> None:
        super().__init__(*facts)
        self._processor = processor

    def get_span_context(self) -> SpanContext:
        assert self._context is not None
        return self._context

    def is_recording(self) -> bool:
        return self._end_time is None

    # Whatever comes after the end is ignored, as in the SDK: the exporter has it then.

    def set_attribute(self, key: str, value: Any) -> None:
        if self._end_time is None:
            self._attributes[key] = value  # type: ignore[index]

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self._end_time is None:
            self._attributes.update(attributes)  # type: ignore[union-attr]

    def set_status(self, status: Any, description: str | None = None) -> None:
        if self._end_time is None:
            self._status = status if isinstance(status, Status) else Status(status, description)

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if self._end_time is None:
            self._events = (*self._events, Event(name, attributes, timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        if self._end_time is None:
            self._links = (*self._links, trace.Link(context, attributes))

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
            try:
                self._processor.on_end(self)
            except Exception:  # tracing must not break what it traces
                _log.exception("a span processor failed")


def _root_bound(sampler: Any) -> int | None:
    """The bound of a sampler that draws roots by ratio and nothing else; None for any other."""
    root = getattr(sampler, "_root", None) if type(sampler) is ParentBased else sampler
    return root.bound if type(root) is TraceIdRatioBased else None


class LightSpans(Spans):
    """Makes light spans where the SDK's tracer would make its own."""

    def __init__(self, tracer: Any) -> None:
        super().__init__(tracer)
        self._sampler = tracer.sampler
        self._processor = tracer.span_processor
        self._resource = tracer.resource
        self._ids = tracer.id_generator
        self._scope = InstrumentationScope(SCOPE)
        self._bound = _root_bound(self._sampler) if self._knows_how() else None
        self._drawn: list[int | Headers] = []

    def _knows_how(self) -> bool:
        return self._plain_w3c and type(self._ids) is RandomIdGenerator

    def begin(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], current: Context
    ) -> tuple[trace.Span | None, Headers]:
        if self._bound is None or current:
            return super().begin(name, kind, facts, current)
        # A root, and a sampler known to draw by ratio alone: draw as it would, without the
        # objects that asking it takes. A client that samples one in a hundred mostly ends here.
        try:
            drawn = self._drawn.pop()
        except IndexError:
            drawn = self._draw(self._bound)
        if isinstance(drawn, int):
            return self._ask(name, kind, facts, current, None, drawn)[0], ()
        return None, drawn

    def _draw(self, bound: int) -> int | Headers:
        """One root: the trace's id, or if it is not sampled the headers that say so.

        More are drawn with it. To draw one costs 6 us where a process sleeps between its calls and
        the code and data for it have left the caches, and 1 us here.
        """
        roots: list[int | Headers] = []
        for _ in range(_DRAWN):
            bits = getrandbits(192)
            if bits >> 64 & TraceIdRatioBased.TRACE_ID_LIMIT < bound:
                roots.append(bits >> 64)
            else:
                text = f"{bits:048x}"
                roots.append((("traceparent", f"00-{text[:32]}-{text[32:]}-00"),))
        drawn = roots.pop()
        self._drawn += roots
        return drawn

    def start(
        self, name: str, kind: SpanKind, facts: Mapping[str, Any], parent: Context
    ) -> tuple[trace.Span | None, SpanContext]:
        if self._bound is not None and not parent:
            bits = getrandbits(192)
            if bits >> 64 & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
                return None, SpanContext(bits >> 64, bits & _LOW_64 or 1, False, _DROPPED)
            return self._ask(name, kind, facts, parent, None, bits >> 64)
        above: SpanContext | None = trace.get_current_span(parent).get_span_context()
        if above is not None and above.is_valid:
            return self._ask(name, kind, facts, parent, above, above.trace_id)
        return self._ask(name, kind, facts, parent, None, self._ids.generate_trace_id())

    def _ask(
        self,
        name: str,
        kind: SpanKind,
        facts: Mapping[str, Any],
        parent: Context,
        above: SpanContext | None,
        trace_id: int,
    ) -> tuple[trace.Span | None, SpanContext]:
        """Do as the sampler says."""
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
        # By position, in the order of ReadableSpan: names would cost a tenth of the span.
        return LightSpan(
            self._processor, name, spanned, above, self._resource, facts, (), (), kind, None,
            _UNSET, time.time_ns(), None, self._scope,
        )  # fmt: skip
