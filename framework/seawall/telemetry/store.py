"""Metrics as plain numbers in memory, read by whoever exports them.

OpenTelemetry's own instruments cost several times as much for each measurement, and a call has
three. So seawall counts here, and an exporter reads it all when it is its time: ``prometheus`` as
text, ``sdk_metrics`` for the readers of OpenTelemetry's SDK.
"""

from __future__ import annotations

import logging
import operator
import threading
import time
from _thread import RLock
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

_log = logging.getLogger("seawall.telemetry")

MOST_SERIES: Final = 2000
"""Of one instrument; what comes after is counted together, under labels that are all ``other``.
Whoever calls methods with made-up names must not fill the memory. As in OpenTelemetry's SDK."""
OTHER: Final = "other"

Labels = tuple[str, ...]
"""The values of an instrument's labels, in their order."""


# Plain classes: a dataclass takes half a millisecond to define.


class Instrument:
    """What is measured: a name, and what belongs to it."""

    __slots__ = ("bounds", "description", "kind", "labels", "merge", "name", "unit")

    def __init__(
        self,
        name: str,
        kind: Literal["counter", "histogram", "gauge"],
        unit: str,
        description: str,
        labels: tuple[str, ...] = (),
        bounds: tuple[float, ...] = (),
        merge: Callable[[float, float], float] = operator.add,
    ) -> None:
        self.name = name
        """As OpenTelemetry writes it, apart by dots."""
        self.kind = kind
        self.unit = unit
        """In UCUM, as OpenTelemetry writes it: ``s``, ``By``, or what is counted, in braces."""
        self.description = description
        self.labels = labels
        self.bounds = bounds
        """Of a histogram: the upper bounds of its buckets, which belong to them."""
        self.merge = merge
        """What two owners say together of the same labels."""


class Counter:
    """One series of a counter."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        # One that its own thread can take again: a signal's handler may call a service, too.
        self._lock = RLock()
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        with self._lock:
            self.value += amount

    def read(self) -> float:
        return self.value


class Histogram:
    """One series of a histogram."""

    __slots__ = ("_counts", "_lock", "_sum", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._lock = RLock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def record(self, value: float) -> None:
        bucket = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value

    def read(self) -> Distribution:
        with self._lock:
            return Distribution(tuple(self._counts), self._sum)


class Distribution(NamedTuple):
    """What a histogram's series holds."""

    counts: tuple[int, ...]
    """Values in each bucket; the last one's are above all bounds."""
    sum: float


Value = float | Distribution
Reading = tuple[Instrument, Labels, float]
"""The value that a gauge, or a counter kept by somebody else, has now."""
Owner = TypeVar("Owner")


class Family(NamedTuple):
    """All series of one instrument, as they are now."""

    instrument: Instrument
    series: dict[Labels, Value]


class Metrics:
    """Everything that is measured in a process. Any thread may use it."""

    def __init__(self) -> None:
        self.since = time.time_ns()
        """When it began to count, in nanoseconds since 1970."""
        self._lock = threading.RLock()
        self._series: dict[Instrument, dict[Labels, Any]] = {}
        self._watched: WeakKeyDictionary[Any, Callable[[Any], Iterable[Reading]]] = (
            WeakKeyDictionary()
        )

    def counter(self, instrument: Instrument, *labels: str) -> Counter:
        """The series of these labels. Worth keeping: finding it costs more than adding to it."""
        found: Counter = self._at(instrument, labels, Counter)
        return found

    def histogram(self, instrument: Instrument, *labels: str) -> Histogram:
        """The series of these labels. Worth keeping, as a counter's."""
        found: Histogram = self._at(instrument, labels, lambda: Histogram(instrument.bounds))
        return found

    def watch(self, owner: Owner, read: Callable[[Owner], Iterable[Reading]]) -> None:
        """Have ``read(owner)`` say how things are, each time that metrics are collected.

        It is called on any thread, is to be quick, and changes nothing. ``owner`` is not kept
        alive, so ``read`` must not hold it: a function or ``Class.method``, not a bound method.
        What several owners say of the same labels is put together as the instrument says.
        """
        with self._lock:
            self._watched[owner] = read

    def forget(self, owner: object) -> None:
        """``owner`` has ended: it is asked no more."""
        with self._lock:
            self._watched.pop(owner, None)

    def collect(self) -> list[Family]:
        """All that is known now, in the order of the names."""
        with self._lock:
            kept = [(one, list(series.items())) for one, series in self._series.items()]
            watched = list(self._watched.items())
        families: dict[Instrument, dict[Labels, Value]] = {
            instrument: {labels: one.read() for labels, one in series}
            for instrument, series in kept
        }
        for owner, read in watched:
            for instrument, labels, value in _readings(owner, read):
                series = families.setdefault(instrument, {})
                known = series.get(labels)
                series[labels] = (
                    instrument.merge(known, value) if isinstance(known, int | float) else value
                )
        ordered = sorted(families.items(), key=lambda item: item[0].name)
        return [Family(instrument, series) for instrument, series in ordered]

    def _at(self, instrument: Instrument, labels: Labels, make: Callable[[], Any]) -> Any:
        assert len(labels) == len(instrument.labels), f"{instrument.name} has other labels"
        with self._lock:
            series = self._series.setdefault(instrument, {})
            if labels not in series and len(series) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            if labels not in series:
                series[labels] = make()
            return series[labels]


def _readings(owner: Any, read: Callable[[Any], Iterable[Reading]]) -> list[Reading]:
    problem: Exception | None = None
    for _ in range(3):
        try:
            return list(read(owner))
        except RuntimeError as error:
            problem = error  # what it looks at was changed by its own thread at this moment
        except Exception as error:
            problem = error
            break
    _log.warning("%s can't be measured", type(owner).__name__, exc_info=problem)
    return []
