"""The server's span of a call, as a child of the caller's."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from grpc import StatusCode
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, TraceFlags

from seawall.telemetry import names
from seawall.telemetry.spans import Spans

Metadata = Iterable[tuple[str, str | bytes]]

_log = logging.getLogger("seawall.telemetry")
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_FIELDS: Final = frozenset(("traceparent",))
_NO_PARENT: Final = Context()


class ServerSpans:
    """Begins and ends SERVER spans."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._fields = frozenset(propagate.get_global_textmap().fields)
        self._facts: dict[str, dict[str, str]] = {}
        """What is said of each method's calls."""

    def begin(self, path: str, metadata: Metadata) -> Span | None:
        """A span for the call of ``path``, or None if it isn't recorded.

        Its context is the current one of this task from now on, so that calls made from here
        belong to the same trace, recorded or not.
        """
        span, current = self.open(path, metadata)
        if current is not None:
            otel_context.attach(current)
        return span

    def open(self, path: str, metadata: Metadata) -> tuple[Span | None, Context | None]:
        """A span, if it is recorded, and the context in which the call is to run."""
        facts = self._facts.get(path)
        if facts is None:
            facts = {names.RPC_SYSTEM: names.GRPC, names.RPC_METHOD: path[1:]}
            self._facts[path] = facts
        try:
            parent = self._parent(metadata)
            span, spanned = self._spans.start(
                facts[names.RPC_METHOD], SpanKind.SERVER, facts, parent
            )
            holder = span if span is not None else NonRecordingSpan(spanned)
            return span, trace.set_span_in_context(holder, parent)
        except Exception:  # a sampler's or a propagator's trouble is not the call's
            _log.exception("the call of %s is not traced", path)
            return None, None

    @staticmethod
    @contextmanager
    def current(context: Context | None) -> Iterator[None]:
        """Within it ``context`` is the current one of this thread."""
        token = None if context is None else otel_context.attach(context)
        try:
            yield
        finally:
            if token is not None:
                otel_context.detach(token)

    def _parent(self, metadata: Metadata) -> Context:
        """The caller's context, as the propagators that are set read it."""
        fields = self._fields
        found = {k: v for k, v in metadata if k in fields and isinstance(v, str)}
        if not found:
            return _NO_PARENT
        if found.keys() == _FIELDS:
            match = _TRACEPARENT.fullmatch(found["traceparent"])
            if match is not None:
                trace_id, span_id, flags = (int(part, 16) for part in match.groups())
                remote = SpanContext(trace_id, span_id, True, TraceFlags(flags))
                return trace.set_span_in_context(NonRecordingSpan(remote), Context())
        return propagate.extract(found, Context())

    @staticmethod
    def end(span: Span, code: StatusCode, error: BaseException | None = None) -> None:
        """End a span with the status that the caller is sent."""
        span.set_attribute(names.STATUS_CODE, code.name)
        if code in names.SERVER_ERRORS:
            kind = type(error).__qualname__ if error else code.name
            span.set_attribute(names.ERROR_TYPE, kind)
            span.set_status(Status(trace.StatusCode.ERROR))
        span.end()
