"""The layers by which a plan is watched: spans and metrics, as far as anybody wants them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from seawall.clock import Clock
from seawall.policy.plan import Handler, Layer, stack
from seawall.telemetry.spans import Spans
from seawall.telemetry.tracing import attempt_span, call_span

if TYPE_CHECKING:
    from seawall.telemetry.store import Metrics


def layers(
    spans: Spans | None, metrics: Metrics | None, clock: Clock
) -> tuple[Layer | None, Layer | None]:
    """What stands over the whole call, and what stands right above the wire; None = nothing."""
    outer: list[Layer] = []
    inner: list[Layer] = []
    if spans is not None:
        outer.append(call_span(spans))
        inner.append(attempt_span(spans))
    if metrics is not None:
        from seawall.telemetry.calls import measured_attempt, measured_call

        outer.insert(0, measured_call(metrics, clock))
        inner.append(measured_attempt(metrics, clock))
    return _one(outer), _one(inner)


def _one(several: list[Layer]) -> Layer | None:
    if len(several) < 2:
        return several[0] if several else None
    return partial(_stacked, several)


def _stacked(several: Iterable[Layer], inner: Handler) -> Handler:
    return stack(several, inner)
