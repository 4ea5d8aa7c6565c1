"""Counts over the last seconds, against counting them all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.policy.window import BUCKETS, Window

LENGTH = 10.0
WIDTH = LENGTH / BUCKETS
EVENTS = st.lists(st.tuples(st.floats(0.0, 4.0) | st.floats(0.0, 30.0), st.booleans()))


@given(EVENTS, st.floats(0.0, 25.0))
def test_nothing_older_counts_and_of_the_rest_all_but_a_bucket(events, later):
    now, window, seen = 1000.0, Window(LENGTH), []
    for pause, good in events:
        now += pause
        (window.good if good else window.bad)(now)
        seen.append((now, good))
    now += later
    good, bad = window.counts(now)
    for wanted, counted in ((True, good), (False, bad)):
        ages = [now - at for at, kind in seen if kind is wanted]
        most = sum(age <= LENGTH + 1e-9 for age in ages)
        least = sum(age < LENGTH - WIDTH - 1e-9 for age in ages)
        assert least <= counted <= most


def test_a_new_window_is_empty_and_a_cleared_one_too():
    window = Window(LENGTH)
    assert window.counts(5.0) == (0, 0)
    window.bad(5.0)
    assert window.counts(5.0) == (0, 1)
    window.clear()
    assert window.counts(5.0) == (0, 0)
    window.good(5.0)
    assert window.counts(5.0) == (1, 0)


@pytest.mark.parametrize("start", [0.0, -50.0, 1e9])
def test_any_zero_of_the_clock_will_do(start):
    window = Window(LENGTH)
    for tenth in range(300):
        window.good(start + tenth / 10)
    assert 90 <= window.counts(start + 29.9)[0] <= 101
    assert window.counts(start + 100.0) == (0, 0)
