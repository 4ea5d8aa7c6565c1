"""Metrics of calls, through OpenTelemetry's API: nothing is counted while nobody reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.call import Call
from seawall.telemetry import names

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter


class Fallbacks:
    """Counts the answers that no server has just given, by method and kind."""

    def __init__(self) -> None:
        self._counter: Counter | None = None

    def __call__(self, call: Call, kind: str) -> None:
        if self._counter is None:
            from opentelemetry import metrics  # hardly ever needed, and not free to import

            self._counter = metrics.get_meter("seawall").create_counter(
                names.FALLBACKS, "{answer}", "Answers given in place of a server's, by kind"
            )
        self._counter.add(1, {names.RPC_METHOD: call.method.path[1:], names.FALLBACK: kind})
