"""The access log, record by record."""

from __future__ import annotations

import logging

import pytest
from grpc import StatusCode

from seawall.errors import ConfigError
from seawall.policy.retry import NUMBER
from seawall.telemetry.access_log import ERRORS_A_SECOND, AccessLog, checked_mode
from seawall.testing.clock import FakeClock

METHOD = "shop.v1.Inventory/GetStock"


class Context:
    """As much of gRPC's as is asked."""

    def __init__(self, *metadata, peer="ipv4:10.0.0.7:1234", left=0.25):
        self._metadata, self._peer, self._left = metadata, peer, left

    def peer(self):
        return self._peer

    def invocation_metadata(self):
        return self._metadata

    def time_remaining(self):
        return self._left


@pytest.fixture(autouse=True)
def everything(caplog):
    caplog.set_level(logging.INFO, "seawall.access")


def facts(record):
    names = ("method", "code", "duration", "peer", "attempt", "deadline_left", "left_out")
    return {name: getattr(record, name) for name in names if hasattr(record, name)}


def test_a_call(caplog):
    AccessLog().note(METHOD, StatusCode.OK, 0.0012346, Context((NUMBER, "2")))
    (record,) = caplog.records
    assert record.name == "seawall.access" and record.levelname == "INFO"
    assert facts(record) == {
        "method": METHOD,
        "code": "OK",
        "duration": 0.001235,
        "peer": "ipv4:10.0.0.7:1234",
        "attempt": 2,
        "deadline_left": 0.25,
    }
    assert record.getMessage() == (
        f"{METHOD} OK 0.001235 s peer=ipv4:10.0.0.7:1234 attempt=2 deadline_left=0.25"
    )


@pytest.mark.parametrize("left", [None, 9.2e18])
def test_without_a_deadline(caplog, left):
    AccessLog().note(METHOD, StatusCode.OK, 0.1, Context(left=left))
    assert "deadline_left" not in facts(caplog.records[0])


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (StatusCode.NOT_FOUND, "INFO"),
        (StatusCode.RESOURCE_EXHAUSTED, "INFO"),
        (StatusCode.INTERNAL, "WARNING"),
        (StatusCode.DEADLINE_EXCEEDED, "WARNING"),
    ],
)
def test_the_level_says_whose_fault_it_was(caplog, code, level):
    AccessLog().note(METHOD, code, 0.1, Context())
    assert caplog.records[0].levelname == level


@pytest.mark.parametrize("number", ["", "-1", "1e9", "1000", "٣", "1\nfake", b"\xff"])
def test_an_attempt_that_is_no_number_is_not_told(caplog, number):
    AccessLog().note(METHOD, StatusCode.OK, 0.1, Context((NUMBER, number), ("secret", "x")))
    assert "attempt" not in facts(caplog.records[0])
    assert "secret" not in caplog.text


def test_a_peer_that_is_not_printable(caplog):
    AccessLog().note(METHOD, StatusCode.OK, 0.1, Context(peer="unix:/a\n\x1b[31mfake"))
    assert caplog.records[0].peer == r"'unix:/a\n\x1b[31mfake'"


def test_errors_only(caplog):
    access = AccessLog(errors_only=True)
    for code in (StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE):
        access.note(METHOD, code, 0.1, Context())
    assert [record.code for record in caplog.records] == ["UNAVAILABLE"]


def test_a_storm_of_errors_is_told_of_in_part(caplog):
    clock = FakeClock()
    access = AccessLog(errors_only=True, clock=clock)
    for _ in range(ERRORS_A_SECOND + 30):
        access.note(METHOD, StatusCode.INTERNAL, 0.1, Context())
    assert len(caplog.records) == ERRORS_A_SECOND
    clock.advance(1.0)
    for _ in range(2):
        access.note(METHOD, StatusCode.INTERNAL, 0.1, Context())
    assert [facts(record).get("left_out") for record in caplog.records[-2:]] == [30, None]


def test_a_log_that_nobody_wants_costs_no_look_at_the_call(caplog):
    caplog.set_level(logging.ERROR, "seawall.access")
    AccessLog().note(METHOD, StatusCode.OK, 0.1, None)
    assert caplog.records == []


@pytest.mark.parametrize(("text", "mode"), [("ON", "on"), (" errors ", "errors"), ("off", "off")])
def test_modes(text, mode):
    assert checked_mode("access_log", text) == mode


@pytest.mark.parametrize("given", ["yes", "", True])
def test_what_is_no_mode(given):
    with pytest.raises(ConfigError, match="access_log: must be on, errors or off, not"):
        checked_mode("access_log", given)
