"""Spans of calls: one for the call, one for each attempt, with their context in the metadata.

Without an SDK these layers are left out of the stack.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any, Final

from grpc import StatusCode
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status

from seawall.call import Call, Method, Outcome
from seawall.policy.plan import Handler, Layer, Plan
from seawall.telemetry import names
from seawall.telemetry.spans import Spans

_log = logging.getLogger("seawall.telemetry")
_OK: Final = StatusCode.OK.name


def call_span(spans: Spans) -> Layer:
    """A CLIENT span over the whole call, all attempts and waits included."""

    def layer(inner: Handler) -> Handler:
        known: dict[str, dict[str, str]] = {}

        def handler(call: Call) -> Plan:
            method = call.method
            facts = known.get(method.path) or known.setdefault(method.path, _facts(method))
            current = context.get_current()
            try:
                name = facts[names.RPC_METHOD]
                span, headers = spans.begin(name, SpanKind.CLIENT, facts, current)
            except Exception:  # a sampler's or a processor's trouble is not the call's
                _log.exception("the call of %s is not traced", method.path)
                return inner(call)
            if span is None:
                call.metadata += headers
                return inner(call)
            call.span = span
            return _ended_by(span, inner, call)

        return handler

    return layer


def attempt_span(spans: Spans) -> Layer:
    """A child span for each attempt; its context is what the server gets to see."""

    def layer(inner: Handler) -> Handler:
        def handler(call: Call) -> Plan:
            if call.span is None:
                return inner(call)
            name = call.method.path[1:]
            number = len(call.attempts or ()) + 1
            assert call.endpoint is not None, "the balance layer stands above the attempt's span"
            facts = {
                names.RPC_SYSTEM: names.GRPC,
                names.RPC_METHOD: name,
                names.ATTEMPT: number,
                names.PREVIOUS_ATTEMPTS: number - 1,
                names.ENDPOINT: call.endpoint.address,
            }
            span = spans.start_child(names.ATTEMPT_PREFIX + name, SpanKind.CLIENT, facts, call.span)
            call.metadata = spans.headers(span.get_span_context(), context.get_current())
            return _ended_by(span, inner, call)

        return handler

    return layer


def _facts(method: Method) -> dict[str, str]:
    return {
        names.RPC_SYSTEM: names.GRPC,
        names.RPC_METHOD: method.path[1:],
        names.SERVER_ADDRESS: method.service,
    }


def _ended_by(span: Span, inner: Handler, call: Call) -> Generator[Any, Any, Outcome]:
    """End ``span`` with what ``inner`` comes to, with its stream's end, or by cancellation."""
    try:
        outcome = yield from inner(call)
    except BaseException:
        _end_failed(span, StatusCode.CANCELLED, "")
        raise
    if call.method.response_streaming and outcome.ok and not outcome.fallback:
        call.when_ended(lambda end: end_span(span, end))
    elif not outcome.ok and outcome.pending is not None:
        outcome.pending.append(lambda end: end_span(span, end))
    else:
        end_span(span, outcome)
    return outcome


def end_span(span: Span, outcome: Outcome) -> None:
    """End a client's span with an outcome."""
    if not outcome.ok:
        _end_failed(span, outcome.code, outcome.details)
        return
    if outcome.fallback:
        span.set_attribute(names.FALLBACK, outcome.fallback)
    span.set_attribute(names.STATUS_CODE, _OK)
    span.end()


def _end_failed(span: Span, code: StatusCode, details: str) -> None:
    span.set_attribute(names.STATUS_CODE, code.name)
    span.set_attribute(names.ERROR_TYPE, code.name)
    span.set_status(Status(trace.StatusCode.ERROR, details or None))
    span.end()
