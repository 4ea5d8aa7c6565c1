"""Numbers from calls: what a turn gave, and what it comes to. Imports no gRPC."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

BIN: Final = 0.5
"""Seconds of a step of the pictures."""
WELL: Final = 99.0
"""Per cent of good answers from where on a client is well."""

LATE: Final = "answered too late"
"""In the place of a code: OK, but after the deadline, counted from when the call was due."""


@dataclass(slots=True)
class Turn:
    """What one client's turn at one scenario gave."""

    client: str
    scenario: str
    deadline: float
    at: list[float]
    latency: list[float]
    """Seconds from each call's scheduled moment to its end."""
    lag: list[float]
    """Seconds by which it started late."""
    code: list[str]
    arrived: int
    """Calls that reached a replica's handler."""
    cpu: float
    """Seconds that the client used, its sidecar included."""
    sidecar_cpu: float = 0.0
    stories: dict[str, str] = field(default_factory=dict)
    stolen: float = 0.0
    """Per cent of the machine that its hypervisor gave to others."""
    others: float = 0.0
    """Per cent of the machine that other processes than the benchmark's used."""
    late: float = 0.0
    """Seconds by which the machine woke an idle process too late (p99)."""

    def felt(self) -> list[float]:
        """The latency that counts: a call without a good answer in time counts as its deadline."""
        return [
            latency if good else self.deadline
            for latency, good in zip(self.latency, self.good(), strict=True)
        ]

    def ends(self) -> list[str]:
        """What each call ended with: its code, or ``LATE`` if it was answered too late."""
        return [
            LATE if code == "OK" and latency > self.deadline else code
            for latency, code in zip(self.latency, self.code, strict=True)
        ]

    def good(self) -> list[bool]:
        """Whether each call had a good answer within its deadline."""
        return [end == "OK" for end in self.ends()]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of them do not exceed; NaN if there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is reported of a client at a scenario: all its turns together."""

    calls: int
    success: float
    """Per cent that had a good answer within the deadline."""
    success_in_fault: float
    """The same of those that were due while something was wrong."""
    p50: float
    """Seconds, as ``Turn.felt``."""
    p99: float
    p999: float
    extra: float
    """Calls that reached a replica, per call made, less one, in per cent."""
    cpu: float
    """Microseconds of CPU a call, the sidecar's included."""
    sidecar: float
    """Those of them that are the sidecar's."""
    codes: dict[str, int]
    lag: float
    """p99 of how late calls started, in seconds."""
    late: float
    """The worst ``Turn.late``."""
    worst: float
    best: float
    """The least and the most ``success`` of a single turn."""


def figures(turns: Sequence[Turn], fault: tuple[float, float] | None) -> Figures:
    """The figures of one client at one scenario; ``fault`` in seconds as it was played."""
    begin, end = fault or (0.0, math.inf)
    felt = [value for turn in turns for value in turn.felt()]
    good = [value for turn in turns for value in turn.good()]
    at = [value for turn in turns for value in turn.at]
    during = [ok for ok, when in zip(good, at, strict=True) if begin <= when < end]
    calls, arrived = len(felt), sum(turn.arrived for turn in turns)
    each = [_share(turn.good()) for turn in turns]
    return Figures(
        calls=calls,
        success=_share(good),
        success_in_fault=_share(during),
        p50=percentile(felt, 50),
        p99=percentile(felt, 99),
        p999=percentile(felt, 99.9),
        extra=100.0 * (arrived / calls - 1) if calls else math.nan,
        cpu=1e6 * sum(turn.cpu for turn in turns) / calls if calls else math.nan,
        sidecar=1e6 * sum(turn.sidecar_cpu for turn in turns) / calls if calls else math.nan,
        codes=dict(Counter(code for turn in turns for code in turn.ends())),
        late=max(turn.late for turn in turns),
        lag=percentile([value for turn in turns for value in turn.lag], 99),
        worst=min(each),
        best=max(each),
    )


def _share(values: Sequence[bool]) -> float:
    return 100.0 * sum(values) / len(values) if values else math.nan


def timeline(turns: Sequence[Turn], seconds: float) -> list[dict[str, Any]]:
    """For each half second: per cent of good answers, and the p99 in seconds."""
    bins: list[tuple[list[bool], list[float]]] = [
        ([], []) for _ in range(max(1, math.ceil(seconds / BIN)))
    ]
    for turn in turns:
        for at, ok, felt in zip(turn.at, turn.good(), turn.felt(), strict=True):
            good, latencies = bins[min(int(at / BIN), len(bins) - 1)]
            good.append(ok)
            latencies.append(felt)
    return [
        {"at": number * BIN, "success": _share(good), "p99": percentile(latencies, 99)}
        for number, (good, latencies) in enumerate(bins)
        if good
    ]


def recovery(steps: Sequence[Mapping[str, Any]], end: float) -> float | None:
    """Seconds from ``end`` on until 99 % of the calls are good for as long as is looked; None if
    they never are. As exact as a timeline's steps are long."""
    after = [step for step in steps if step["at"] + BIN > end]
    good = list(takewhile(lambda step: step["success"] >= WELL, reversed(after)))
    return max(0.0, float(good[-1]["at"]) - end) if good else None
