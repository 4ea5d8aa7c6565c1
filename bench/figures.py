"""Numbers from rounds: medians, and ratios taken within each round. Imports no gRPC."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from statistics import median, quantiles
from typing import Any

RESAMPLES = 400
"""Enough for the ends of a 95 % interval: ten of the draws lie beyond each."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its quartiles and with the interval that likely holds the true median."""

    q1: float
    median: float
    q3: float
    low: float
    """Lower end of the median's 95 % interval."""
    high: float
    """Its upper end."""

    @classmethod
    def of(cls, values: Sequence[float], fleets: Sequence[int]) -> Spread:
        """``fleets`` tells for each value which start of the processes it comes from."""
        # ``quantiles`` wants two values; a single one is all of its own spread.
        q1, middle, q3 = quantiles([*values, *values][: max(2, len(values))], method="inclusive")
        low, high = interval(values, fleets)
        return cls(q1, middle, q3, low, high)


def interval(values: Sequence[float], fleets: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of the median, by a bootstrap over fleets and over each one's rounds.

    The rounds of one fleet share its luck (where the kernel placed its memory and threads), so
    they count for less than as many independent ones. With few fleets it is a little too narrow.
    """
    groups: dict[int, list[float]] = {}
    for value, fleet in zip(values, fleets, strict=True):
        groups.setdefault(fleet, []).append(value)
    drawn = random.Random(0)
    pools = list(groups.values())

    def resample() -> float:
        picked = drawn.choices(pools, k=len(pools))
        return median(chain.from_iterable(drawn.choices(pool, k=len(pool)) for pool in picked))

    medians = sorted(resample() for _ in range(RESAMPLES))
    tail = round(RESAMPLES * 0.025)
    return medians[tail], medians[-tail - 1]


@dataclass(slots=True)
class Series:
    """One row at one concurrency: a figure for each round, in round order."""

    fleet: list[int] = field(default_factory=list)
    """Which start of the processes it comes from."""
    cpu: list[float] = field(default_factory=list)
    """Microseconds of CPU a call."""
    wall: list[float] = field(default_factory=list)
    """Microseconds from the burst's start to its end, divided by its calls."""
    spans: list[float] = field(default_factory=list)
    """Spans a call."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is reported of a row at one concurrency."""

    cpu: Spread
    cpu_ratio: Spread
    wall: Spread
    wall_ratio: Spread

    @classmethod
    def of(cls, row: Series, base: Series) -> Figures:
        return cls(
            Spread.of(row.cpu, row.fleet),
            Spread.of(ratios(row.cpu, base.cpu), row.fleet),
            Spread.of(row.wall, row.fleet),
            Spread.of(ratios(row.wall, base.wall), row.fleet),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def ratios(row: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's own ratio: what slowed the machine then slowed both."""
    return [mine / other for mine, other in zip(row, base, strict=True)]


def verdict(ratio: Spread, budget: float | None) -> str:
    """Whether a budget holds; "close" if the median's interval lies on both sides of it."""
    if budget is None:
        return ""
    words = "holds" if ratio.median <= budget else "over"
    return f"{words} (close)" if ratio.low <= budget < ratio.high else words
