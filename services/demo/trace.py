"""One checkout's trace, from the spans that all processes wrote, as a tree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Span = Mapping[str, Any]
"""As ``services.traces`` writes it."""

_STATUS = "rpc.response.status_code"
_PACKAGE = "shop.v1."  # of all services alike, so it is left out
_HEADER = ("", "process", "attempt", "endpoint", "status", "took")


def read(path: Path) -> list[Span]:
    """The spans of a file; half a line, from a process that was killed, is left out."""
    spans = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                spans.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return spans


def most_telling(spans: Sequence[Span]) -> str:
    """The tree of the checkout that was answered although most of its attempts failed; an
    undisturbed one if there was no such; nothing if none was traced."""
    traces: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span["trace"]].append(span)
    checkouts = [
        some for some in traces.values() if _whole(some) and _root(some)["status"] != "ERROR"
    ]
    if not checkouts:
        return ""
    return tree(max(checkouts, key=_failures))


def _whole(spans: Sequence[Span]) -> bool:
    """Whether it is a checkout that began with the shopper, and no span's parent is missing."""
    known = {span["id"] for span in spans}
    roots = [span for span in spans if span["parent"] is None]
    whole = all(span["parent"] is None or span["parent"] in known for span in spans)
    return whole and len(roots) == 1 and roots[0]["name"].startswith("checkout")


def _root(spans: Sequence[Span]) -> Span:
    return next(span for span in spans if span["parent"] is None)


def _failures(spans: Sequence[Span]) -> int:
    return sum(span["status"] == "ERROR" for span in spans)


def tree(spans: Sequence[Span]) -> str:
    """The spans of one trace, children under their parents, in the order in which they began."""
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span["start"]):
        children[span["parent"]].append(span)
    rows: list[tuple[str, ...]] = [_HEADER]
    for root in children[None]:
        rows += _rows(root, children, "", "")
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _rows(
    span: Span, children: Mapping[str | None, Sequence[Span]], first: str, rest: str
) -> Iterator[tuple[str, ...]]:
    yield (first + span["name"].replace(_PACKAGE, ""), *_cells(span))
    below = children.get(span["id"], ())
    for child in below:
        last = child is below[-1]
        yield from _rows(
            child, children, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )


def _cells(span: Span) -> tuple[str, ...]:
    attributes = span["attributes"]
    return (
        str(span["process"] or ""),
        str(attributes.get("seawall.attempt", "")),
        str(attributes.get("seawall.endpoint", "")),
        str(attributes.get(_STATUS, "")),
        f"{(span['end'] - span['start']) / 1e6:.1f} ms",
    )
