"""Load reports between seawall's servers and clients, in the trailing metadata of answers.

They say what ORCA says (see ``server.load.orca``) in a few characters, to those who ask. gRPC's
core keeps ORCA's entry to itself (seen with 1.85), so a Python client can't read that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from seawall.call import LoadReport

OWN: Final = "seawall-load"
"""In flight, median latency in seconds, CPU, answers and errors a second, apart by spaces."""

ASK: Final = ((OWN, "?"),)
"""The metadata of a request whose caller wants to be told."""

_NUMBERS: Final = 5
_MOST: Final = 1e9
"""Nobody has as many requests in flight, or takes as many seconds; NaN isn't below it either."""


def own_entry(load: LoadReport) -> tuple[str, str]:
    """The entry of trailing metadata that tells ``load`` to seawall's clients."""
    numbers = load.in_flight or 0, load.latency or 0.0, load.utilization, load.rate, load.errors
    return OWN, " ".join(f"{number:.4g}" for number in numbers)


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
