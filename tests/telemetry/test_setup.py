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


def said(**environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    run = subprocess.run(
        [sys.executable, "-c", CODE], env={**clean, **environment}, capture_output=True, check=True
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
