"""What the parts find: tables for people, figures for tools. Imports no gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.report import table


@dataclass(frozen=True, slots=True)
class Delays:
    """Many durations, in seconds."""

    count: int
    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Delays:
        """Raises ``ValueError`` for none: a measurement that found nothing has failed."""
        if not values:
            raise ValueError("nothing was measured")
        ordered = sorted(values)
        # The value that 99 of 100 don't exceed; of fewer than 100 that is the worst.
        rank = min(len(ordered) - 1, -(-len(ordered) * 99 // 100) - 1)
        return cls(len(ordered), median(ordered), ordered[rank], ordered[-1])

    @property
    def cells(self) -> tuple[str, str, str]:
        """Median, p99 and worst, in milliseconds."""
        return ms(self.median), ms(self.p99), ms(self.worst)

    def as_json(self) -> dict[str, float]:
        return {
            "count": self.count, "median": self.median, "p99": self.p99, "worst": self.worst,
        }  # fmt: skip


DELAY_HEADER = ("median ms", "p99 ms", "worst ms")


@dataclass(slots=True)
class Part:
    """One part of the report."""

    name: str
    title: str
    blocks: list[str] = field(default_factory=list)
    """Tables and sentences, in their order."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The same for tools: seconds, bytes, counts."""

    def tabulate(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.blocks.append(table(header, rows))

    def say(self, text: str) -> None:
        self.blocks.append(text)

    @property
    def text(self) -> str:
        return "\n\n".join([f"{self.name}: {self.title}", *self.blocks])


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def mib(size: float) -> str:
    return f"{size / 2**20:.1f}"


def kib(size: float) -> str:
    return f"{size / 2**10:.0f}"


def percent(share: float) -> str:
    """Of one core."""
    return f"{share * 100:.1f}"
