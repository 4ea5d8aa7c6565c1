"""OTEL_* variables, each in a process of its own, as a provider is set once and for all."""

import os
import subprocess
import sys

import pytest

CODE = """
import seawall
from opentelemetry import trace
from seawall.telemetry.setup import set_up_tracing
try:
    done = set_up_tracing("shop")
except seawall.ConfigError as error:
    print("error", error)
else:
    provider = trace.get_tracer_provider()
    print(done, done and provider.resource.attributes["service.name"])
    if done:
        with provider.get_tracer("t").start_as_current_span("the span"):
            pass
        provider.shutdown()
"""


def said(program=CODE, /, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **environment},
        capture_output=True,
        check=True,
    )
    return run.stdout.decode()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nobody_asked(environment):
    assert said(**environment) == "False False\n"


def test_console():
    out = said(OTEL_TRACES_EXPORTER="console")
    assert out.startswith("True shop\n") and '"name": "the span"' in out


def test_the_service_name_of_the_environment_wins():
    assert said(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="till").startswith("True till\n")


def test_the_sampler_of_the_environment_is_used():
    out = said(OTEL_TRACES_EXPORTER="console", OTEL_TRACES_SAMPLER="always_off")
    assert "the span" not in out


def test_an_exporter_that_is_not_installed():
    assert "opentelemetry-exporter-otlp" in said(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "'zipkin' is not installed" in said(OTEL_TRACES_EXPORTER="zipkin")


METRICS = """
import sys, seawall
from seawall.telemetry.metrics import metrics
from seawall.telemetry.setup import set_up_metrics
try:
    done = set_up_metrics("shop")
except seawall.ConfigError as error:
    print("error", error)
else:
    measured = metrics()
    print(done, measured is not None)
    if done:
        import opentelemetry.metrics
        opentelemetry.metrics.get_meter_provider().shutdown()
    elif measured is None:
        assert "opentelemetry.sdk" not in sys.modules
        assert "opentelemetry.metrics" not in sys.modules
"""


@pytest.mark.parametrize("environment", [{}, {"OTEL_METRICS_EXPORTER": "none"}])
def test_nobody_asked_for_metrics(environment):
    assert said(METRICS, **environment) == "False False\n"


def test_metrics_on_the_console():
    out = said(METRICS, OTEL_METRICS_EXPORTER="console")
    assert out.startswith("True True\n")
    assert '"name": "process.uptime"' in out and '"service.name": "shop"' in out


def test_metrics_for_prometheus():
    port = {"OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    assert said(METRICS, OTEL_METRICS_EXPORTER="prometheus", **port) == "False True\n"


def test_a_metrics_exporter_that_is_not_installed():
    out = said(METRICS, OTEL_METRICS_EXPORTER="statsd")
    assert out == (
        "error OTEL_METRICS_EXPORTER: the exporter 'statsd' is not installed: install its package\n"
    )


FORKED = """
import os, threading
from seawall.telemetry import catalogue
from seawall.telemetry.metrics import metrics, turn_on

counter = turn_on().counter(catalogue.REPAIRS, "x")
held, done = threading.Event(), threading.Event()

def hold():
    with counter._lock:
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if not child:
    assert metrics() is None
    turn_on().counter(catalogue.REPAIRS, "x").add()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), metrics() is not None)
done.set()
"""


def test_a_forked_child_begins_anew():
    assert said(FORKED) == "0 True\n"
