"""Virtual time."""

import pytest

from seawall.testing.simulate.engine import Engine


def test_what_is_due_first_happens_first_and_ties_in_the_order_asked():
    engine, seen = Engine(), []
    for when, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        engine.at(when, lambda name: seen.append((engine(), name)), name)
    engine.run(10.0)
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]
    assert engine() == 10.0


def test_a_cancelled_event_does_not_happen_and_lets_go_of_what_it_held():
    engine, seen = Engine(), []
    event = engine.at(1.0, seen.append, "never")
    engine.after(0.5, event.cancel)
    engine.run(2.0)
    assert seen == [] and event[3] == ()


def test_the_past_is_now():
    engine, seen = Engine(), []
    engine.at(5.0, lambda: engine.at(1.0, lambda: seen.append(engine())))
    engine.run(6.0)
    assert seen == [5.0]


def test_a_run_ends_at_its_time_and_goes_on_from_there():
    engine, seen = Engine(), []
    engine.at(1.0, seen.append, 1)
    engine.at(3.0, seen.append, 3)
    engine.run(2.0)
    assert seen == [1] and engine() == 2.0
    engine.run(3.0)
    assert seen == [1, 3]


def test_a_run_can_stop_early():
    engine, seen = Engine(), []
    for when in (1.0, 2.0, 3.0):
        engine.at(when, seen.append, when)
    engine.run(10.0, lambda: len(seen) < 2)
    assert seen == [1.0, 2.0] and engine() == 2.0


def test_time_that_stands_still_is_an_error_that_names_the_culprit():
    engine = Engine()

    def again():
        engine.soon(again)

    engine.at(1.0, again)
    with pytest.raises(RuntimeError, match=r"stands still at 1\.0.*again"):
        engine.run(2.0)
