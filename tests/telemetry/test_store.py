"""The numbers themselves, without any calls."""

import gc
import logging
import operator
import sys
import threading

import pytest

from seawall.telemetry import catalogue
from seawall.telemetry.process import Process
from seawall.telemetry.store import MOST_SERIES, OTHER, Distribution, Instrument, Metrics
from tests.telemetry.measured import series

CALLS = Instrument("calls", "counter", "{call}", "Calls", ("kind",))
TIME = Instrument("time", "histogram", "s", "Time", ("kind",), (0.1, 1.0))
DEPTH = Instrument("depth", "gauge", "1", "Depth", ("kind",))
WORST = Instrument("worst", "gauge", "1", "Worst", merge=max)


def test_a_bucket_holds_what_is_up_to_its_bound():
    metrics = Metrics()
    for value in (0.0, 0.1, 0.100001, 1.0, 7.0):
        metrics.histogram(TIME, "a").record(value)
    (family,) = metrics.collect()
    assert family.series == {("a",): Distribution((2, 2, 1), pytest.approx(8.200001))}


def test_nothing_is_lost_between_threads():
    metrics, each, threads = Metrics(), 5000, 8
    start = threading.Barrier(threads)

    def work():
        start.wait()
        for _ in range(each):
            metrics.counter(CALLS, "a").add()
            metrics.histogram(TIME, "a").record(0.5)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert series(metrics, CALLS) == {("a",): each * threads}
    assert series(metrics, TIME) == {("a",): each * threads}


def test_made_up_labels_do_not_fill_the_memory():
    metrics = Metrics()
    for number in range(MOST_SERIES + 500):
        metrics.counter(CALLS, str(number)).add()
    found = series(metrics, CALLS)
    assert len(found) == MOST_SERIES + 1 and found[OTHER,] == 500
    metrics.counter(CALLS, "7").add()  # what was known before goes on
    assert series(metrics, CALLS)["7",] == 2


def test_labels_that_an_instrument_does_not_have_are_a_mistake():
    with pytest.raises(AssertionError, match="calls has other labels"):
        Metrics().counter(CALLS, "a", "b")


class Depth:
    def __init__(self, *depths):
        self.depths = depths

    def readings(self):
        for number, depth in enumerate(self.depths):
            yield DEPTH, (str(number),), depth
        yield WORST, (), max(self.depths)


def test_owners_of_the_same_labels_are_put_together():
    metrics, one, other = Metrics(), Depth(1, 2), Depth(10, -1)
    metrics.watch(one, Depth.readings)
    metrics.watch(other, Depth.readings)
    assert series(metrics, DEPTH) == {("0",): 11, ("1",): 1}
    assert series(metrics, WORST) == {(): 10}
    assert DEPTH.merge is operator.add
    metrics.forget(other)
    assert series(metrics, WORST) == {(): 2}
    metrics.forget(other)


def test_an_owner_that_is_gone_is_gone():
    metrics = Metrics()
    owner = Depth(1)
    metrics.watch(owner, Depth.readings)
    del owner
    gc.collect()
    assert metrics.collect() == []


def test_one_that_fails_does_not_hide_the_others(caplog):
    metrics, good = Metrics(), Depth(3)

    def broken(owner):
        yield DEPTH, ("0",), 1
        raise ValueError("no")

    metrics.watch(good, Depth.readings)
    bad = Depth(1)
    metrics.watch(bad, broken)
    with caplog.at_level(logging.WARNING):
        assert series(metrics, DEPTH) == {("0",): 3}
    assert "Depth can't be measured" in caplog.text
    assert "ValueError: no" in caplog.text


def test_one_that_is_changed_while_it_is_read_is_read_again():
    metrics, tries = Metrics(), []

    def changing(owner):
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("dictionary changed size during iteration")
        yield WORST, (), 5

    owner = Depth(1)
    metrics.watch(owner, changing)
    assert series(metrics, WORST) == {(): 5}


def test_the_process_itself():
    metrics, process = Metrics(), Process()
    metrics.watch(process, Process.readings)
    found = {family.instrument: family.series[()] for family in metrics.collect()}
    assert 0 < found[catalogue.UPTIME] < 86_400
    assert found[catalogue.CPU_TIME] > 0
    assert found[catalogue.MEMORY] > 1e6 and found[catalogue.OPEN_FILES] >= 3


def test_names_are_unique_and_bounds_ascend():
    names = [instrument.name for instrument in catalogue.ALL]
    assert len(set(names)) == len(names) > 20
    for instrument in catalogue.ALL:
        assert list(instrument.bounds) == sorted(set(instrument.bounds))
        assert bool(instrument.bounds) == (instrument.kind == "histogram")
