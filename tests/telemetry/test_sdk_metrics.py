"""seawall's metrics, as readers of OpenTelemetry's SDK are given them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import opentelemetry.metrics
import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, Sum
from opentelemetry.sdk.resources import Resource

from seawall.telemetry import catalogue, sdk_metrics
from seawall.telemetry.metrics import metrics
from seawall.telemetry.store import Metrics

LABELS = ("a/B", "OK")


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def delta() -> InMemoryMetricReader:
    both = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    return InMemoryMetricReader(preferred_temporality=both)


@pytest.fixture
def provider(reader, delta, measured, monkeypatch) -> Iterator[MeterProvider]:
    """The SDK's, with seawall's metrics."""
    made = MeterProvider([reader, delta], Resource({"service.name": "till"}))
    monkeypatch.setattr(opentelemetry.metrics, "get_meter_provider", lambda: made)
    assert metrics() is measured
    yield made
    made.shutdown()


def points(reader: InMemoryMetricReader, name: str) -> list:
    (resource,) = reader.get_metrics_data().resource_metrics
    assert resource.resource.attributes["service.name"] == "till"
    found = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    return list(found[name].data.data_points) if name in found else []


def test_they_are_beside_the_users_own(provider, reader, measured):
    provider.get_meter("mine").create_counter("orders").add(3)
    measured.counter(catalogue.SERVER_STARTED, "a/B").add(2)
    (own,) = points(reader, "orders")
    (ours,) = points(reader, "grpc.server.call.started")
    assert own.value == 3 and ours.value == 2
    assert ours.attributes == {"grpc.method": "a/B"}


def test_there_need_not_be_any_of_the_users(provider, reader, measured):
    measured.histogram(catalogue.SERVER_DURATION, *LABELS).record(0.004)
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    (metric,) = scope.metrics
    assert scope.scope.name == "seawall"
    assert (metric.name, metric.unit) == ("grpc.server.call.duration", "s")
    (point,) = metric.data.data_points
    assert (point.count, point.sum) == (1, 0.004)
    assert point.explicit_bounds == catalogue.SECONDS
    assert point.bucket_counts[catalogue.SECONDS.index(0.005)] == 1
    assert point.attributes == {"grpc.method": "a/B", "grpc.status": "OK"}
    assert point.start_time_unix_nano == measured.since < point.time_unix_nano


def test_from_the_begin_and_since_the_last_time(provider, reader, delta, measured):
    duration = measured.histogram(catalogue.SERVER_DURATION, *LABELS)
    started = measured.counter(catalogue.SERVER_STARTED, "a/B")
    seen = []
    for calls in (2, 0, 3):
        for _ in range(calls):
            started.add()
            duration.record(0.5)
        seen.append(
            [
                (points(one, "grpc.server.call.duration")[0].count,
                 points(one, "grpc.server.call.started")[0].value)
                for one in (reader, delta)
            ]
        )  # fmt: skip
    # The second look of each pair finds nothing new where only news are wanted.
    assert [whole for whole, _ in seen] == [(2, 2), (2, 2), (5, 5)]
    assert [news for _, news in seen] == [(2, 0), (0, 0), (3, 0)]


def test_what_is_new_adds_up(provider, delta, measured):
    started = measured.counter(catalogue.SERVER_STARTED, "a/B")
    starts, total = [], 0
    for _ in range(3):
        started.add(2)
        (point,) = points(delta, "grpc.server.call.started")
        total += point.value
        starts.append((point.start_time_unix_nano, point.time_unix_nano))
    assert total == 6
    assert [begin for begin, _ in starts[1:]] == [end for _, end in starts[:-1]]


class Depth:
    def readings(self):
        yield catalogue.IN_FLIGHT, (), 4


def test_gauges_and_json(provider, reader, measured):
    depth = Depth()
    measured.watch(depth, Depth.readings)
    measured.histogram(catalogue.SERVER_DURATION, *LABELS).record(0.5)
    (point,) = points(reader, "seawall.server.in_flight")
    assert point.value == 4
    told = json.loads(reader.get_metrics_data().to_json())
    assert told["resource_metrics"]


def test_a_counter_is_a_sum_that_only_grows(provider, reader, measured):
    measured.counter(catalogue.REPAIRS, "x").add()
    (resource,) = reader.get_metrics_data().resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    assert isinstance(metric.data, Sum) and metric.data.is_monotonic
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE


def test_asked_twice_a_reader_is_fed_once(provider, reader, measured):
    assert metrics() is measured
    measured.counter(catalogue.REPAIRS, "x").add()
    assert len(points(reader, "seawall.server.repairs")) == 1
    (resource,) = reader.get_metrics_data().resource_metrics
    assert len(resource.scope_metrics) == 1


def test_what_goes_wrong_leaves_the_users_own_alone(
    provider, reader, measured, monkeypatch, caplog
):
    provider.get_meter("mine").create_counter("orders").add(3)

    def broken(self):
        raise ValueError("no")

    monkeypatch.setattr(Metrics, "collect", broken)
    assert points(reader, "orders")[0].value == 3
    assert "could not be collected" in caplog.text


def test_an_sdk_that_is_built_in_another_way_is_told_of(measured, caplog):
    class Reader:
        pass

    class Consumer:
        _reader_storages = {Reader(): None}

    class Provider:
        _measurement_consumer = Consumer()

    provider = Provider()
    sdk_metrics.feed(measured, provider)
    sdk_metrics.feed(measured, provider)
    assert caplog.text.count("seawall's metrics are not exported by") == 1
