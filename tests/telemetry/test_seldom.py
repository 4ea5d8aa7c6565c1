"""Bounded logs: a few lines of each kind, and how many there would have been."""

import logging

from seawall.telemetry.seldom import MOST, SPAN, Seldom, limit


def test_so_many_of_a_kind_in_a_span():
    now = [0.0]
    seldom = Seldom(2, 10.0, clock=lambda: now[0])
    assert [seldom.left_out("a") for _ in range(5)] == [0, 0, None, None, None]
    assert seldom.left_out("b") == 0
    now[0] = 9.9
    assert seldom.left_out("a") is None
    now[0] = 10.0
    assert [seldom.left_out("a") for _ in range(3)] == [4, 0, None]
    now[0] = 100.0
    assert seldom.left_out("b") == 0


def test_kinds_are_not_kept_without_end():
    seldom = Seldom(clock=lambda: 0.0)
    for kind in range(5000):
        assert seldom.left_out(kind) == 0
    assert len(seldom._seen) <= 1000


def test_a_logger_is_limited_once_and_what_is_below_a_warning_is_not(caplog):
    name = "tests.seldom"
    limit(name)
    limit(name)
    log = logging.getLogger(name)
    assert len(log.filters) == 1
    with caplog.at_level(logging.DEBUG, name):
        for number in range(MOST + 3):
            log.error("Invalid encoding on %s of many", number)
            log.debug("Invalid encoding on %s of many", number)
        log.error("Another thing altogether")
    errors = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == MOST + 1 and len(caplog.records) == len(errors) + MOST + 3


def test_the_next_line_says_how_many_were_left_out(caplog, monkeypatch):
    now = [0.0]
    limit("tests.seldom.later")
    log = logging.getLogger("tests.seldom.later")
    monkeypatch.setattr(log.filters[0]._seldom, "_clock", lambda: now[0])
    for _ in range(MOST + 7):
        log.warning("bad %s", "value")
    now[0] = SPAN
    log.warning("bad %s", "value")
    assert caplog.messages[-1] == "bad value (7 more like this were left out before)"
