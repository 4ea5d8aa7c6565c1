"""How records are written, also those whose words come from an attacker."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from seawall.telemetry.formats import LONGEST, JsonFormatter, TextFormatter
from seawall.telemetry.identity import Identity

WHO = Identity("till", "till-1", "2.0")


def record(message="hello", *args, level=logging.INFO, error=None, **extra):
    made = logging.LogRecord("shop.till", level, __file__, 1, message, args, error)
    vars(made).update(extra)
    return made


def as_json(one, **named):
    line = JsonFormatter(WHO, **named).format(one)
    assert "\n" not in line and line.isascii() and line.isprintable()
    return json.loads(line)


def test_a_record():
    one = record("%d of %s", 3, "five", sku="X1", price=1.5, many=[1, "a", None])
    found = as_json(one)
    moment = found.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert abs(datetime.fromisoformat(moment).timestamp() - one.created) < 0.001
    assert found == {
        "level": "INFO",
        "logger": "shop.till",
        "message": "3 of five",
        "service": "till",
        "instance": "till-1",
        "sku": "X1",
        "price": 1.5,
        "many": [1, "a", None],
    }


def test_the_worker_and_the_service_of_the_environment(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
    found = as_json(record(), worker="worker 2")
    assert found["worker"] == "worker 2" and found["service"] == "checkout"


def test_within_a_call_that_is_traced():
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False))
    with trace.use_span(span):
        found = as_json(record())
    assert found["trace_id"] == f"{0xABC:032x}" and found["span_id"] == f"{0xDEF:016x}"
    assert "trace_id" not in as_json(record())


def test_an_exception_and_a_stack():
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        found = as_json(record(error=sys.exc_info(), stack_info="Stack:\n  here"))
    assert "ValueError: no\nsuch thing" in found["exception"]
    assert found["stack"] == "Stack:\n  here"
    assert "exception" not in as_json(record(error=(None, None, None)))


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


def test_values_that_json_does_not_have():
    circle: list = []
    circle.append(circle)
    found = as_json(
        record(
            nan=float("nan"), data=b"\x00", what=Unprintable(), circle=circle, keys={1: {2}},
            service="mine", time="mine",
        )
    )  # fmt: skip
    assert found["nan"] == "nan" and found["data"] == "b'\\x00'"
    assert found["what"] == "<Unprintable that can't be shown>"
    assert found["keys"] == {"1": [2]}
    assert "[[[" in json.dumps(found["circle"])
    assert found["service"] == "till" and found["time"] != "mine"  # not to be overwritten


def test_arguments_that_do_not_fit():
    assert as_json(record("%d items", "many"))["message"] == "%d items ('many',)"


def test_long_texts_are_cut():
    found = as_json(record("x" * (LONGEST + 7), other="y" * (LONGEST + 1)))
    assert found["message"].endswith("x... (7 characters more)")
    assert found["other"].endswith("y... (1 characters more)")


@given(st.text(), st.text())
def test_json_gives_back_what_was_logged(message, value):
    found = as_json(record("%s", message, value=value))
    assert found["message"] == message and found["value"] == value


@given(st.text())
def test_a_text_record_can_not_look_like_two(message):
    text = TextFormatter().format(record("%s", message))
    first, *others = text.split("\n")
    assert " INFO shop.till: " in first
    assert all(line.startswith("    ") for line in others)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text)
    assert len(text.splitlines()) == 1 + len(others)


def test_a_text_record():
    text = TextFormatter("worker 1").format(record("red \x1b[31m\r\nfake"))
    assert text.endswith(" INFO worker 1 shop.till: red \\x1b[31m\\r\n    fake")


PROGRAM = """
import logging
from seawall import ConfigError
from seawall.telemetry.log_setup import set_up_logging
try:
    set_up_logging("w1")
except ConfigError as error:
    print(error)
logging.getLogger("shop").info("hello")
logging.getLogger("shop").debug("more")
"""


def said(**environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SEAWALL_"))}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**clean, **environment}, capture_output=True,
        check=True, text=True,
    )  # fmt: skip


def test_text_is_the_default():
    assert re.fullmatch(r"[-\d :,]+ INFO w1 shop: hello\n", said().stderr)


def test_json_and_a_level():
    run = said(SEAWALL_LOG_FORMAT="json", SEAWALL_LOG="debug")
    told = [json.loads(line) for line in run.stderr.splitlines()]
    assert [one["message"] for one in told] == ["hello", "more"]
    assert all(one["worker"] == "w1" and one["instance"] for one in told)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"SEAWALL_LOG_FORMAT": "xml"}, "SEAWALL_LOG_FORMAT: must be text or json, not 'xml'"),
        ({"SEAWALL_LOG": "loud"}, "SEAWALL_LOG: must be a level such as INFO or DEBUG, not 'loud'"),
    ],
)
def test_settings_that_make_no_sense(environment, complaint):
    assert said(**environment).stdout == complaint + "\n"
