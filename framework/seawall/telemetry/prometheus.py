"""The metrics as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from seawall.telemetry.store import Distribution, Family, Instrument, Metrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_UNITS: Final = {"s": "_seconds", "By": "_bytes", "{call}/s": "_per_second"}
"""Suffixes of names, by OpenTelemetry's rules for Prometheus; what is counted has none, and
neither has ``1``, which here is a yes or no and not a ratio."""
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(metrics: Metrics, target: Mapping[str, str]) -> bytes:
    """Everything, as it is now. ``target``: facts about the process, for ``target_info``."""
    lines = [
        "# HELP target_info Who is measured",
        "# TYPE target_info gauge",
        f"target_info{_braced(_pairs(tuple(target), tuple(target.values())))} 1",
    ]
    for family in metrics.collect():
        lines += _lines(family)
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def name_of(instrument: Instrument) -> str:
    """An instrument's name here."""
    name = _OTHER.sub("_", instrument.name) + _UNITS.get(instrument.unit, "")
    return f"{name}_total" if instrument.kind == "counter" else name


def _lines(family: Family) -> Iterator[str]:
    instrument = family.instrument
    name = name_of(instrument)
    yield f"# HELP {name} {instrument.description}"
    yield f"# TYPE {name} {instrument.kind}"
    for labels, value in sorted(family.series.items()):
        pairs = _pairs(instrument.labels, labels)
        if isinstance(value, Distribution):
            yield from _histogram(name, instrument.bounds, pairs, value)
        else:
            yield f"{name}{_braced(pairs)} {_number(value)}"


def _histogram(
    name: str, bounds: tuple[float, ...], pairs: str, value: Distribution
) -> Iterator[str]:
    before = f"{pairs}," if pairs else ""
    below = list(accumulate(value.counts))
    for bound, count in zip(bounds, below, strict=False):
        yield f'{name}_bucket{{{before}le="{_number(bound)}"}} {count}'
    yield f'{name}_bucket{{{before}le="+Inf"}} {below[-1]}'
    yield f"{name}_sum{_braced(pairs)} {_number(value.sum)}"
    yield f"{name}_count{_braced(pairs)} {below[-1]}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".title()
    return str(int(value)) if value == int(value) else repr(float(value))


def _pairs(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(
        f'{_OTHER.sub("_", name)}="{value.translate(_ESCAPES)}"'
        for name, value in zip(names, values, strict=True)
    )


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""
