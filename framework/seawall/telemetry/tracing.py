"""Spans of calls: one for the call, one for each attempt, with W3C context over the metadata.

Without an SDK the tracer is OpenTelemetry's no-op and these layers are left out of the stack.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from grpc import StatusCode
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, Tracer

from seawall.call import Call, Outcome
from seawall.policy.plan import Handler, Layer, Plan
from seawall.telemetry import names

SCOPE: Final = "seawall"


def tracing_is_on() -> bool:
    """Whether an SDK (or another real provider) is set up.

    A proxy stands for "not yet": a tracer taken from it begins to work when one is set, but until
    then each span would cost a little, so seawall looks once, when a channel or server is made.
    """
    return not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider
    )


def tracer() -> Tracer:
    return trace.get_tracer(SCOPE)


def call_span(tracer: Tracer) -> Layer:
    """A CLIENT span over the whole call, all attempts and waits included."""

    def layer(inner: Handler) -> Handler:
        def handler(call: Call) -> Plan:
            name = names.method_name(call.method.path)
            span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=_facts(call, name))
            if span.is_recording():
                call.span = span
                return _ended_by(span, inner, call)
            call.metadata += headers(trace.set_span_in_context(span))
            return inner(call)

        return handler

    return layer


def attempt_span(tracer: Tracer) -> Layer:
    """A child span for each attempt; its context is what the server gets to see."""

    def layer(inner: Handler) -> Handler:
        def handler(call: Call) -> Plan:
            if call.span is None:
                return inner(call)
            number = len(call.attempts or ()) + 1
            name = names.method_name(call.method.path)
            facts: dict[str, Any] = {
                names.RPC_SYSTEM: names.GRPC,
                names.RPC_METHOD: name,
                names.ATTEMPT: number,
                names.PREVIOUS_ATTEMPTS: number - 1,
            }
            if call.endpoint is not None:
                facts[names.ENDPOINT] = facts[names.PEER_ADDRESS] = call.endpoint.address
            span = tracer.start_span(
                names.ATTEMPT_PREFIX + name,
                trace.set_span_in_context(call.span),
                kind=SpanKind.CLIENT,
                attributes=facts,
            )
            call.metadata = headers(trace.set_span_in_context(span))
            return _ended_by(span, inner, call)

        return handler

    return layer


def headers(context: Context) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata that carries ``context``, as the propagators that are set write it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return tuple((key.lower(), value) for key, value in carrier.items())


def _facts(call: Call, name: str) -> dict[str, str]:
    return {
        names.RPC_SYSTEM: names.GRPC,
        names.RPC_METHOD: name,
        names.SERVER_ADDRESS: call.method.service,
    }


def _ended_by(span: Span, inner: Handler, call: Call) -> Generator[Any, Any, Outcome]:
    """End ``span`` with what ``inner`` comes to, with its stream's end, or by cancellation."""
    try:
        outcome = yield from inner(call)
    except GeneratorExit:
        _finish(span, StatusCode.CANCELLED)
        raise
    if call.method.response_streaming and outcome.ok and not outcome.fallback:
        call.when_ended(lambda end: end_span(span, end))
    elif not outcome.ok and outcome.pending is not None:
        outcome.pending.append(lambda end: end_span(span, end))
    else:
        end_span(span, outcome)
    return outcome


def end_span(span: Span, outcome: Outcome) -> None:
    if outcome.ok:
        if outcome.fallback:
            span.set_attribute(names.FALLBACK, True)
        span.set_attribute(names.STATUS_CODE, StatusCode.OK.name)
        span.end()
    else:
        _finish(span, outcome.code, outcome.details)


def _finish(span: Span, code: StatusCode, details: str = "") -> None:
    span.set_attribute(names.STATUS_CODE, code.name)
    span.set_attribute(names.ERROR_TYPE, code.name)
    span.set_status(Status(trace.StatusCode.ERROR, details or None))
    span.end()
