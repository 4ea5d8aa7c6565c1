"""seawall's metrics for the readers of OpenTelemetry's SDK, and so for every exporter there is.

The SDK has no way to hand it a histogram that somebody else keeps. So what a reader collects is
completed here: its own result comes first, seawall's scope is put beside it. Imported only where
the SDK's meter provider is in use, as the SDK is slow to import.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.metrics._internal.instrument import _Counter, _Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from seawall.telemetry.spans import SCOPE
from seawall.telemetry.store import Distribution, Family, Instrument, Labels, Metrics, Value

_log = logging.getLogger("seawall.telemetry")
_fed: WeakSet[Any] = WeakSet()
_lock = threading.Lock()
_KINDS = {"counter": _Counter, "histogram": _Histogram}


def feed(metrics: Metrics, provider: Any) -> None:
    """Give every reader of ``provider`` these metrics too. Does nothing for those that have them.

    A reader that can't be given them is told of in the log, once.
    """
    with _lock:
        for reader in _readers(provider):
            if reader in _fed:
                continue
            _fed.add(reader)
            try:
                reader._set_collect_callback(Producer(metrics, provider, reader))
            except Exception:  # an SDK that is built in another way
                _log.warning("seawall's metrics are not exported by %r", reader, exc_info=True)


def _readers(provider: Any) -> list[Any]:
    consumer = getattr(provider, "_measurement_consumer", None)
    return list(getattr(consumer, "_reader_storages", ()))


class Producer:
    """Collects for one reader: what the SDK has, and what seawall has.

    A reader may want what was added since it last looked ("delta") in place of what there is
    in all; so each has its own memory of what it has seen.
    """

    def __init__(self, metrics: Metrics, provider: Any, reader: Any) -> None:
        self._metrics = metrics
        self._provider = provider
        self._inner = reader._collect
        self._temporality = {
            kind: reader._instrument_class_temporality[cls] for kind, cls in _KINDS.items()
        }
        self._seen: dict[tuple[Instrument, Labels], Value] = {}
        self._since = metrics.since
        self._scope = InstrumentationScope(SCOPE)

    def __call__(self, reader: Any, timeout_millis: float = 10_000) -> Any:
        found = self._inner(reader, timeout_millis=timeout_millis)
        try:
            ours = self._own_scope()
        except Exception:  # the user's own metrics are not to be lost with ours
            _log.exception("seawall's metrics could not be collected")
            return found
        if found is not None and found.resource_metrics:
            first, *others = found.resource_metrics
            scopes = [*first.scope_metrics, ours]
            whole = export.ResourceMetrics(first.resource, scopes, first.schema_url)
            return export.MetricsData([whole, *others])
        resource = self._provider._sdk_config.resource
        return export.MetricsData([export.ResourceMetrics(resource, [ours], resource.schema_url)])

    def _own_scope(self) -> export.ScopeMetrics:
        now = time.time_ns()
        families = self._metrics.collect()
        scope = export.ScopeMetrics(self._scope, [self._metric(f, now) for f in families], "")
        self._since = now
        return scope

    def _metric(self, family: Family, now: int) -> export.Metric:
        instrument = family.instrument
        kind = instrument.kind
        data: Any
        if kind == "gauge":
            data = export.Gauge(self._numbers(family, now, now, family.series.items()))
        else:
            temporality = self._temporality[kind]
            delta = temporality is AggregationTemporality.DELTA
            since = self._since if delta else self._metrics.since
            series = self._news(family) if delta else family.series.items()
            if kind == "counter":
                points = self._numbers(family, since, now, series)
                data = export.Sum(points, temporality, is_monotonic=True)
            else:
                data = export.Histogram(_points(family, since, now, series), temporality)
        return export.Metric(instrument.name, instrument.description, instrument.unit, data)

    def _news(self, family: Family) -> list[tuple[Labels, Value]]:
        """What each series has gained since this was last asked."""
        news = []
        for labels, value in family.series.items():
            key = (family.instrument, labels)
            before, self._seen[key] = self._seen.get(key), value
            news.append((labels, _difference(value, before)))
        return news

    @staticmethod
    def _numbers(
        family: Family, since: int, now: int, series: Iterable[tuple[Labels, Value]]
    ) -> list[export.NumberDataPoint]:
        return [
            export.NumberDataPoint(_attributes(family, labels), since, now, value)
            for labels, value in series
            if not isinstance(value, Distribution)
        ]


def _points(
    family: Family, since: int, now: int, series: Iterable[tuple[Labels, Value]]
) -> list[export.HistogramDataPoint]:
    bounds = family.instrument.bounds
    return [
        export.HistogramDataPoint(
            attributes=_attributes(family, labels),
            start_time_unix_nano=since,
            time_unix_nano=now,
            count=sum(value.counts),
            sum=value.sum,
            bucket_counts=value.counts,
            explicit_bounds=bounds,
            min=None,  # type: ignore[arg-type] # OTLP leaves out what is None
            max=None,  # type: ignore[arg-type]
        )
        for labels, value in series
        if isinstance(value, Distribution)
    ]


def _attributes(family: Family, labels: Labels) -> dict[str, str]:
    return dict(zip(family.instrument.labels, labels, strict=True))


def _difference(value: Value, before: Value | None) -> Value:
    if before is None:
        return value
    if isinstance(value, Distribution):
        assert isinstance(before, Distribution)
        counts = tuple(new - old for new, old in zip(value.counts, before.counts, strict=True))
        return Distribution(counts, value.sum - before.sum)
    assert not isinstance(before, Distribution)
    return value - before
