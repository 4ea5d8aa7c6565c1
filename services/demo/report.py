"""What the demo measured, as text and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

PROMISE: Final = 99.9
"""Per cent of seawall's calls that must be answered, for the demo to succeed."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    if not values:
        return 0.0
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they must be; the first to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


@dataclass(frozen=True)
class Figures:
    """What one side's calls came to."""

    calls: int
    success: float
    """Per cent, not rounded."""
    p50: float
    p99: float
    p999: float
    """Seconds, over all calls: a failure is as long as its caller waited for it."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """By status code."""
    doubled: int = 0
    """Orders that were charged more than once."""
    fallbacks: int = 0
    """Answers that came from a fallback: they are successes."""


def figures(records: Sequence[Mapping[str, Any]], charges: Mapping[str, int], side: str) -> Figures:
    """Sum up the records of one side, and the ledger's lines of its orders."""
    latencies = [record["latency"] for record in records]
    failed = Counter(record["code"] for record in records if record["code"] != "OK")
    calls = len(records)
    return Figures(
        calls=calls,
        success=100 * (calls - failed.total()) / calls if calls else 0.0,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        p999=percentile(latencies, 99.9),
        failed=dict(failed.most_common()),
        doubled=sum(times > 1 for order, times in charges.items() if order.startswith(f"{side}-")),
        fallbacks=sum(record["fallback"] for record in records),
    )


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def per_cent(share: float) -> str:
    """Two decimals, cut and not rounded: 99.996 is not 100."""
    return f"{math.floor(share * 100) / 100:.2f} %"


def comparison(plain: Figures, seawall: Figures) -> str:
    """The table that the demo ends with."""
    codes = sorted({*plain.failed, *seawall.failed})
    both = (plain, seawall)
    rows = [
        ("calls", *(str(side.calls) for side in both)),
        ("answered", *(per_cent(side.success) for side in both)),
        ("p50", *(milliseconds(side.p50) for side in both)),
        ("p99", *(milliseconds(side.p99) for side in both)),
        ("p99.9", *(milliseconds(side.p999) for side in both)),
        *((f"failed: {code}", *(str(side.failed.get(code, 0)) for side in both)) for code in codes),
        ("charged twice", *(str(side.doubled) for side in both)),
        ("answered by a fallback", *(str(side.fallbacks) for side in both)),
    ]
    return table(("", "plain stubs", "seawall"), rows)


@dataclass(frozen=True)
class Window:
    """When one fault was on, in seconds from the start of the load."""

    name: str
    begin: float
    end: float
    """When the next one began."""


def within(window: Window, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The calls that ended in it: one that a fault cuts off was due before the fault began."""
    return [r for r in records if window.begin <= r["at"] + r["latency"] < window.end]


def by_fault(windows: Sequence[Window], sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What each fault cost each side."""
    rows = []
    for window in (*windows[:-1], *(replace(last, end=math.inf) for last in windows[-1:])):
        cells = [window.name]
        for records in sides.values():
            some = within(window, records)
            failed = sum(record["code"] != "OK" for record in some)
            p99 = percentile([record["latency"] for record in some], 99)
            fallbacks = sum(record["fallback"] for record in some)
            cells += [f"{failed} of {len(some)}", str(fallbacks), milliseconds(p99)]
        rows.append(cells)
    heads = [head for side in sides for head in (f"{side}: failed", "fallback", "p99")]
    return table(("while", *heads), rows)


def verdict(seawall: Figures) -> list[str]:
    """What broke the promise; nothing if it was kept."""
    broken = []
    if seawall.success < PROMISE:
        broken.append(
            f"seawall answered {per_cent(seawall.success)} of the calls; promised: {PROMISE} %"
        )
    if seawall.doubled:
        broken.append(f"seawall charged {seawall.doubled} orders more than once; promised: none")
    return broken


def as_json(
    sides: Mapping[str, Figures], windows: Sequence[Window], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The report for machines."""
    return {
        "sides": {name: asdict(side) for name, side in sides.items()},
        "faults": [asdict(window) for window in windows],
        "broken": verdict(sides["seawall"]),
        **extra,
    }
