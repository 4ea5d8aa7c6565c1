"""Results as a table of text: a row for each policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seawall.testing.simulate.result import Result
from seawall.testing.simulate.scenario import Scenario

Row = Sequence[str]


def summary(scenario: Scenario, results: Iterable[tuple[str, Result]]) -> str:
    """The results of one scenario under several policies, as (policy, result)."""
    head = ["policy", "calls", "good %"]
    head += [f"{name} %" for name in scenario.classes]
    head += [f"{window.name} %" for window in scenario.windows]
    head += ["p50 ms", "p99 ms", "p99.9 ms", "attempts", "errors"]
    return aligned([head, *(_row(scenario, name, result) for name, result in results)])


def by_second(scenario: Scenario, result: Result) -> str:
    """One result, second by second."""
    rows = [["second", "calls", "good %", "p50 ms", "p99 ms", "attempts", "errors"]]
    rows += [
        [
            f"{second.start:.0f}",
            f"{second.calls}",
            _percent(second.success),
            _ms(second.p50),
            _ms(second.p99),
            f"{second.attempts:.3f}",
            _errors(second.errors.items()),
        ]
        for second in result.by_second(within=scenario.within)
    ]
    return aligned(rows)


def aligned(rows: Sequence[Row]) -> str:
    """Columns of equal width; all to the right but the first and the last."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(scenario: Scenario, name: str, result: Result) -> Row:
    within = scenario.within
    classes = [result.of(criticality=name) for name in scenario.classes]
    windows = [
        _percent(result.success(window.since, window.until, within=within))
        if window.since < result.duration
        else "-"
        for window in scenario.windows
    ]
    return [
        name,
        str(len(result)),
        _percent(result.success(within=within)),
        *(_percent(one.success(within=within)) if len(one) else "-" for one in classes),
        *windows,
        *(_ms(result.latency(quantile)) for quantile in (0.5, 0.99, 0.999)),
        f"{result.attempts_per_call():.3f}",
        _errors(result.errors().items()),
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _errors(errors: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {code}" for code, count in errors) or "none"
