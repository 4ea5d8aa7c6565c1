"""Numbers out of records."""

import pytest

from seawall.testing.simulate import Record, Result


def record(started, latency=0.01, code="OK", attempts=1, client="a", fallback=False):
    return Record(client, started, latency, code, attempts, fallback)


RESULT = Result(
    [
        record(0.1),
        record(0.2, 0.03),
        record(0.3, 1.0, "DEADLINE_EXCEEDED", 3),
        record(0.4, 0.02, fallback=True),
        record(2.5, 0.5, client="b"),
        record(2.6, 0.1, "UNAVAILABLE", 0, "b"),
    ],
    duration=4.0,
)


def test_success_is_what_servers_answered_with_ok_in_time():
    assert RESULT.success() == pytest.approx(3 / 6)
    assert RESULT.success(0.0, 1.0) == pytest.approx(2 / 4)
    assert RESULT.success(within=0.02) == pytest.approx(1 / 6)


def test_of_one_client_or_one_class():
    shed = record(0.1)._replace(criticality="sheddable")
    result = Result([record(0.1), record(0.2, client="b"), shed], duration=1.0)
    assert [len(result.of("a")), len(result.of("b")), len(result.of())] == [2, 1, 3]
    assert result.of(criticality="sheddable").records == [shed]
    assert len(result.of("b", criticality="sheddable")) == 0


def test_latency_is_that_of_all_callers():
    assert RESULT.latency(1.0) == 1.0
    assert RESULT.latency(0.5) == 0.03
    assert RESULT.latency(0.5, 2.0, 3.0) == 0.1
    for wrong in (0, 1.1):
        with pytest.raises(ValueError, match="quantile"):
            RESULT.latency(wrong)


def test_attempts_goodput_and_errors():
    assert RESULT.attempts_per_call() == pytest.approx(7 / 6)
    assert RESULT.goodput() == pytest.approx(3 / 4)
    assert RESULT.goodput(2.0) == pytest.approx(1 / 2)
    assert RESULT.errors() == {"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1}
    assert RESULT.errors(5.0) == {}


def test_a_client_of_its_own():
    assert len(RESULT.of("b")) == 2
    assert RESULT.of("b").success() == 0.5


def test_second_by_second():
    first, third = RESULT.by_second()
    assert (first.start, first.calls, first.success, first.p50, first.p99) == (0, 4, 0.5, 0.02, 1.0)
    assert (third.start, third.attempts, third.errors) == (2, 0.5, {"UNAVAILABLE": 1})


def test_where_nothing_started_there_is_no_number():
    with pytest.raises(ValueError, match=r"no call started between 1 s and 2 s"):
        RESULT.success(1.0, 2.0)
