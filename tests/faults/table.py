"""The matrix as a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.faults.scenario import Result

BEGIN: Final = "<!-- faults: begin, made by make faults -->"
END: Final = "<!-- faults: end -->"
_HEAD: Final = (
    "Fault", "Lasted", "Calls", "Failed", "Events lost", "Twice", "Whole after", "Allowed",
    "Idle CPU",
)  # fmt: skip


def markdown(results: Iterable[Result]) -> str:
    """One row for each result."""
    rows = [_HEAD, ("---", *("---:" for _ in _HEAD[1:])), *map(_cells, results)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def write(page: Path, results: Iterable[Result]) -> None:
    """Replace the table on a page. Raises ``ValueError`` if its two markers aren't there."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: it needs {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}")


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.fault,
        _seconds(result.duration),
        str(result.calls),
        str(result.failed),
        str(result.lost),
        str(result.twice),
        _seconds(result.whole),
        f"{result.within:.0f} s",
        "-" if result.cpu is None else f"{result.cpu:.1%}",
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
