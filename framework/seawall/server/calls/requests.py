"""What a request brings along, and what its answer tells beside the response."""

from __future__ import annotations

import time
from typing import Any, Final

from grpc import StatusCode

from seawall.context import Inbound
from seawall.criticality import DEFAULT, SENT
from seawall.policy.retry import NO_RETRY
from seawall.server.load.meter import Meter
from seawall.server.load.probe import PROBE
from seawall.telemetry.served import Served
from seawall.telemetry.server_spans import ServerSpans
from seawall.transport.load import ASK

_NO_DEADLINE: Final = 1e9
"""gRPC's sync contexts say 9.2e18 seconds for "none"."""

PROBED: Final = Inbound(None)
"""What stands for a request that this server has sent itself, to see how long it waits."""

_CLASSES: Final = [(entries[0], each) for each, entries in SENT.items()]
_HEARD: Final = frozenset((PROBE, ASK[0], NO_RETRY, *(entry for entry, _ in _CLASSES)))


def inbound_of(context: Any, metadata: Any) -> Inbound:
    """What its caller asks, and how much time and weight it gives."""
    remaining = context.time_remaining()
    until = None if remaining is None or remaining > _NO_DEADLINE else time.monotonic() + remaining
    if _HEARD.isdisjoint(metadata):
        return Inbound(until)
    if PROBE in metadata:
        return PROBED
    asks_load, alone = ASK[0] in metadata, NO_RETRY in metadata
    for entry, criticality in _CLASSES:
        if entry in metadata:
            return Inbound(until, asks_load, alone, criticality)
    return Inbound(until, asks_load, alone, DEFAULT)


def report(
    meter: Meter, began: float, served: Inbound, context: Any, *, failed: bool = False
) -> None:
    """A request has ended: tell its caller how much there is to do, beside what the handler says.

    A handler that aborts has sent its status already; then nothing is told.
    """
    told = meter.end(began, asked=served.asks_load, failed=failed)
    if told:
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), *told))


def ended(
    told: Served | None,
    span: Any,
    began: float,
    context: Any,
    code: StatusCode,
    error: BaseException | None = None,
) -> None:
    """A request has ended with ``code``: tell whoever counts it, and end its span if any."""
    if told is not None:  # first, as the log tells the span that is the current one
        told.ended(code, time.monotonic() - began, context)
    if span is not None:
        ServerSpans.end(span, code, error)
