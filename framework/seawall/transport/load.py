"""Load reports on the wire, in the trailing metadata of each answer.

There are two entries. One is ORCA (gRFC A51), for gRPC's own ``weighted_round_robin`` in any
language. gRPC's core keeps that one to itself (seen with 1.85), so a Python client can't read it;
seawall's clients read the other, which says the same in a few characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from seawall.call import LoadReport
from seawall.transport.orca_pb2 import OrcaLoadReport

ORCA: Final = "endpoint-load-metrics-bin"
OWN: Final = "seawall-load"
"""In flight, median latency in seconds, CPU, answers and errors a second, apart by spaces."""

IN_FLIGHT: Final = "seawall.in_flight"
"""ORCA's named metric: requests that the server works on, or that wait there."""
LATENCY: Final = "seawall.latency"
"""ORCA's named metric: the median seconds of its recent answers."""

_NUMBERS: Final = 5
_MOST: Final = 1e9
"""Nobody has as many requests in flight, or takes as many seconds; NaN isn't below it either."""


def entries_of(load: LoadReport) -> tuple[tuple[str, bytes | str], ...]:
    """The entries of trailing metadata that tell ``load``."""
    in_flight, latency = load.in_flight or 0, load.latency or 0.0
    message = OrcaLoadReport(
        cpu_utilization=load.utilization, rps_fractional=load.rate, eps=load.errors
    )
    message.named_metrics[IN_FLIGHT] = in_flight
    message.named_metrics[LATENCY] = latency
    own = f"{in_flight:g} {latency:.4g} {load.utilization:.3g} {load.rate:.4g} {load.errors:.4g}"
    return (ORCA, message.SerializeToString()), (OWN, own)


def report_in(trailing: Iterable[tuple[str, Any]] | None) -> LoadReport | None:
    """The report in a call's trailing metadata; None if there is none, or none that makes sense."""
    for key, value in trailing or ():
        if key == OWN:
            return _read(value)
    return None


def _read(value: Any) -> LoadReport | None:
    try:
        numbers = [float(part) for part in value.split(" ", _NUMBERS)]
        in_flight, latency, utilization, rate, errors = numbers
    except (ValueError, AttributeError, TypeError):
        return None
    if not all(0.0 <= number < _MOST for number in numbers):
        return None
    return LoadReport(in_flight, latency, utilization, rate, errors)
