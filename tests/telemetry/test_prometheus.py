"""The text that Prometheus reads, read back."""

import re

from hypothesis import given
from hypothesis import strategies as st

from seawall.telemetry import catalogue
from seawall.telemetry.prometheus import name_of, render
from seawall.telemetry.store import Instrument, Metrics

TIME = Instrument("rpc.time", "histogram", "s", "Time", ("rpc.kind",), (0.1, 1.0))
LINE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-z_][a-z0-9_]*="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
PAIR = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\.)*)"')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def read(text: str):
    """Every sample: its name, its labels, its value."""
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match is not None, line
            pairs = {
                key: re.sub(r"\\.", lambda found: ESCAPED[found[0]], value)
                for key, value in PAIR.findall(match[2] or "")
            }
            yield match[1], pairs, float(match[3])


def test_a_histogram():
    metrics = Metrics()
    for value in (0.05, 0.5, 3.0):
        metrics.histogram(TIME, "a").record(value)
    assert render(metrics, {"service.name": "till"}).decode() == (
        "# HELP target_info Who is measured\n"
        "# TYPE target_info gauge\n"
        'target_info{service_name="till"} 1\n'
        "# HELP rpc_time_seconds Time\n"
        "# TYPE rpc_time_seconds histogram\n"
        'rpc_time_seconds_bucket{rpc_kind="a",le="0.1"} 1\n'
        'rpc_time_seconds_bucket{rpc_kind="a",le="1"} 2\n'
        'rpc_time_seconds_bucket{rpc_kind="a",le="+Inf"} 3\n'
        'rpc_time_seconds_sum{rpc_kind="a"} 3.55\n'
        'rpc_time_seconds_count{rpc_kind="a"} 3\n'
    )


def test_names():
    assert name_of(catalogue.SERVER_DURATION) == "grpc_server_call_duration_seconds"
    assert name_of(catalogue.SERVER_STARTED) == "grpc_server_call_started_total"
    assert name_of(catalogue.IN_FLIGHT) == "seawall_server_in_flight"
    assert name_of(catalogue.SERVING) == "seawall_server_serving"
    assert name_of(catalogue.CPU_TIME) == "process_cpu_time_seconds_total"
    assert name_of(catalogue.MEMORY) == "process_memory_usage_bytes"
    assert name_of(catalogue.RATE_LIMIT) == "seawall_server_rate_limit_per_second"


@given(st.text(), st.floats(allow_nan=False, min_value=0))
def test_any_label_and_value_comes_back(label, amount):
    metrics = Metrics()
    metrics.counter(catalogue.REPAIRS, label).add(amount)
    text = render(metrics, {}).decode()
    samples = {name: (labels, value) for name, labels, value in read(text)}
    labels, value = samples["seawall_server_repairs_total"]
    expected = label.encode("utf-8", "replace").decode()
    assert labels == {"seawall_kind": expected}
    assert value == amount


def test_large_counts_are_exact():
    metrics = Metrics()
    metrics.counter(catalogue.REPAIRS, "x").add(123_456_789_012_345)
    assert ("seawall_server_repairs_total", {"seawall_kind": "x"}, 123_456_789_012_345.0) in list(
        read(render(metrics, {}).decode())
    )


def test_numbers_as_prometheus_writes_them():
    metrics = Metrics()
    for number in (1.0, 0.1, float("inf"), float("-inf"), float("nan"), True):
        metrics.counter(catalogue.REPAIRS, repr(number)).add(number)
    text = render(metrics, {}).decode()
    told = re.findall(r'seawall_server_repairs_total{seawall_kind="(.*)"} (.*)', text)
    assert dict(told) == {
        "1.0": "1", "0.1": "0.1", "inf": "+Inf", "-inf": "-Inf", "nan": "NaN", "True": "1",
    }  # fmt: skip
