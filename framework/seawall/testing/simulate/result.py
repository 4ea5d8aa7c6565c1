"""What came of a simulation, in numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OK = "OK"


class Record(NamedTuple):
    """One call, from its caller's side."""

    client: str
    started: float
    """Seconds from the start of the run."""
    latency: float
    """Seconds until it ended, well or not."""
    code: str
    """``OK`` or the name of the status code."""
    attempts: int
    """How many were sent."""
    fallback: bool = False
    """Answered by the fallback: OK to its caller, and not counted as a success."""
    criticality: str = "critical"
    """Its class."""


@dataclass(slots=True)
class Tally:
    """What a replica has done in all."""

    arrived: int = 0
    """Requests that came in."""
    answered: int = 0
    """With OK, whether or not anybody still waited for it."""
    failed: int = 0
    """Answered with the error of ``Replica.fail``."""
    refused: int = 0
    """For a full queue, or by ``Admission`` or ``Shedding``."""
    dropped: int = 0
    """Left the queue because the client had given up."""
    lost: int = 0
    """In hand when the process died."""
    busy: float = 0.0
    """Seconds that workers were busy, over all of them."""


@dataclass(frozen=True, slots=True)
class Second:
    """The calls that started in one second."""

    start: float
    calls: int
    success: float
    """Share of them, 0 to 1."""
    p50: float
    p99: float
    """Seconds."""
    attempts: float
    """Sent for each call."""
    errors: Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """The calls of a run, in the order in which they ended, and what the replicas did.

    Every method takes ``since`` and ``until``: the calls that started from one to before the other.
    Raises ValueError where there were none and a number would mean nothing.
    """

    records: Sequence[Record]
    duration: float
    """Seconds in which calls were started."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """By the replica's name."""

    def success(
        self, since: float = 0.0, until: float = math.inf, *, within: float | None = None
    ) -> float:
        """Share of the calls that a server answered with OK, within that many seconds if given."""
        chosen = self._some(since, until)
        return sum(_is_good(record, within) for record in chosen) / len(chosen)

    def latency(self, quantile: float, since: float = 0.0, until: float = math.inf) -> float:
        """Seconds that this share of the callers waited at most, however their calls ended."""
        if not 0 < quantile <= 1:
            raise ValueError(f"a quantile is above 0 and at most 1, not {quantile!r}")
        return _quantile(sorted(r.latency for r in self._some(since, until)), quantile)

    def attempts_per_call(self, since: float = 0.0, until: float = math.inf) -> float:
        """Attempts sent for each call: 1.1 is 10 % more load than without retries and hedges."""
        chosen = self._some(since, until)
        return sum(record.attempts for record in chosen) / len(chosen)

    def goodput(
        self, since: float = 0.0, until: float = math.inf, *, within: float | None = None
    ) -> float:
        """Calls a second that a server answered with OK, within that many seconds if given."""
        good = sum(_is_good(record, within) for record in self._between(since, until))
        return good / (min(until, self.duration) - since)

    def errors(self, since: float = 0.0, until: float = math.inf) -> dict[str, int]:
        """How many calls failed with which code, the most frequent first."""
        chosen = self._between(since, until)
        return dict(Counter(r.code for r in chosen if r.code != OK).most_common())

    def by_second(self, *, within: float | None = None) -> list[Second]:
        """Second by second; those in which no call started are left out."""
        seconds: dict[int, list[Record]] = {}
        for record in self.records:
            seconds.setdefault(int(record.started), []).append(record)
        return [_second(start, seconds[start], within) for start in sorted(seconds)]

    def of(self, client: str | None = None, *, criticality: str | None = None) -> Result:
        """The calls of one client alone, or of one class, or both."""
        chosen = [
            record
            for record in self.records
            if client in (None, record.client) and criticality in (None, record.criticality)
        ]
        return Result(chosen, self.duration, self.tallies)

    def __len__(self) -> int:
        """How many calls there were."""
        return len(self.records)

    def _between(self, since: float, until: float) -> Iterator[Record]:
        return (record for record in self.records if since <= record.started < until)

    def _some(self, since: float, until: float) -> list[Record]:
        chosen = list(self._between(since, until))
        if not chosen:
            raise ValueError(f"no call started between {since:g} s and {until:g} s")
        return chosen


def _is_good(record: Record, within: float | None) -> bool:
    in_time = within is None or record.latency <= within
    return record.code == OK and not record.fallback and in_time


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def _second(start: int, records: list[Record], within: float | None) -> Second:
    latencies = sorted(record.latency for record in records)
    return Second(
        start=float(start),
        calls=len(records),
        success=sum(_is_good(record, within) for record in records) / len(records),
        p50=_quantile(latencies, 0.5),
        p99=_quantile(latencies, 0.99),
        attempts=sum(record.attempts for record in records) / len(records),
        errors=dict(Counter(r.code for r in records if r.code != OK).most_common()),
    )
