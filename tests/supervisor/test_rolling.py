"""Rolling restarts, in virtual time."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.supervisor.events import (
    RollingDone,
    RollingHalted,
    RollingStarted,
    WorkerReplaced,
    WorkerRestarted,
)
from seawall.supervisor.signs import WorkerId
from tests.supervisor.world import World

TERM, KILL = signal.SIGTERM, signal.SIGKILL


def test_on_free_ports_the_new_one_serves_before_the_old_one_leaves():
    world = World(2).open()
    world.roll()
    assert world.launched[2:] == [(1, 2)] and world.sent == []
    world.serves(1, 2)
    assert world.sent == [((1, 1), TERM)]
    world.ends(1)
    assert world.launched[3:] == [(2, 2)]
    world.serves(2, 2)
    world.ends(2)
    assert world.sent == [((1, 1), TERM), ((2, 1), TERM)]
    assert len(world.of(RollingDone)) == 1
    assert world.of(WorkerReplaced)[0] == WorkerReplaced(1, 102, 101)
    assert world.running == {(1, 2), (2, 2)}


def test_on_fixed_ports_the_old_one_leaves_first():
    world = World(2, in_place=True).open()
    world.roll()
    assert world.sent == [((1, 1), TERM)] and len(world.launched) == 2
    world.ends(1)
    assert world.launched[2:] == [(1, 2)]
    assert len(world.sent) == 1, "not before the first one serves again"
    world.serves(1, 2)
    assert world.sent[1:] == [((2, 1), TERM)]
    world.ends(2)
    world.serves(2, 2)
    assert len(world.of(RollingDone)) == 1 and len(world.of(WorkerReplaced)) == 2


def test_on_fixed_ports_no_one_leaves_while_another_is_down():
    world = World(3, in_place=True).open()
    world.ends(3, status=-9)
    world.roll()
    assert world.sent == []
    world.passes(0.1)
    world.serves(3, 2)
    assert world.sent == [((1, 1), TERM)]


def test_a_new_one_that_fails_halts_it_and_the_old_ones_stay():
    world = World(3).open()
    world.roll()
    world.ends(1, 2, status=1)
    assert world.of(RollingHalted)[0] == RollingHalted(1, "exited with status 1", (2, 3))
    assert world.sent == [] and world.running == {(1, 1), (2, 1), (3, 1)}
    world.passes(300.0)
    assert len(world.launched) == 4, "it isn't tried again by itself"
    world.roll()
    assert world.launched[-1] == (1, 3)


def test_on_fixed_ports_a_new_one_that_fails_is_tried_again_and_the_others_stay():
    world = World(2, in_place=True).open()
    world.roll()
    world.ends(1)
    world.ends(1, 2, status=1)
    assert world.of(RollingHalted)[0].left == (2,)
    assert world.of(WorkerRestarted)[0].reason == "exited with status 1"
    world.passes(0.1)
    assert world.launched[-1] == (1, 3)
    assert world.signals(2) == []


def test_a_new_one_that_never_serves_halts_it():
    world = World(2).open()
    world.roll()
    world.passes(120.0)
    assert world.sent == [((1, 2), KILL)]
    world.ends(1, 2, status=-9)
    assert "did not serve within 120 s" in world.said()[-1]


def test_asked_for_in_the_midst_of_one_there_is_one_more():
    world = World(1).open()
    for _ in range(3):
        world.roll()
    world.serves(1, 2)
    world.ends(1)
    assert world.launched == [(1, 1), (1, 2), (1, 3)]
    world.serves(1, 3)
    world.ends(1, 2)
    assert len(world.of(RollingDone)) == len(world.of(RollingStarted)) == 2


def test_asked_for_during_the_first_start_it_begins_after_it():
    world = World(2)
    world.roll()
    assert world.launched == [(1, 1)]
    world.open()
    assert world.launched == [(1, 1), (2, 1), (1, 2)]


def test_an_old_one_that_dies_while_its_successor_starts_is_not_started_again():
    world = World(1).open()
    world.roll()
    world.ends(1, status=-9)
    world.passes(10.0)
    assert world.launched == [(1, 1), (1, 2)]
    world.serves(1, 2)
    assert len(world.of(RollingDone)) == 1 and world.sent == []


def test_when_both_die_the_worker_is_started_again():
    world = World(1).open()
    world.roll()
    world.ends(1, status=-9)
    world.ends(1, 2, status=-9)
    assert len(world.of(RollingHalted)) == 1
    world.passes(1.0)
    assert world.launched[-1] == (1, 3)


def test_a_successor_that_dies_while_the_old_one_leaves_is_started_again():
    world = World(1).open()
    world.roll()
    world.serves(1, 2)
    world.ends(1, 2, status=-9)
    world.passes(1.0)
    assert world.launched[-1] == (1, 3)
    world.ends(1)
    assert len(world.of(RollingDone)) == 1


def test_an_old_one_that_does_not_leave_is_killed_and_it_goes_on():
    world = World(2).open()
    world.roll()
    world.serves(1, 2)
    world.passes(15.0)
    assert world.signals(1) == [TERM, KILL]
    world.ends(1, status=-9)
    assert world.launched[-1] == (2, 2)
    assert world.of(WorkerRestarted) == []


def test_one_that_waits_to_be_started_is_new_anyway():
    world = World(2).open()
    world.ends(1, status=-9)
    world.roll()
    assert world.launched[-1] == (2, 2)
    world.passes(0.1)
    assert world.launched[-1] == (1, 2)
    world.serves(1, 2)
    world.serves(2, 2)
    world.ends(2)
    assert len(world.of(RollingDone)) == 1


def test_a_stop_in_the_midst_of_one():
    world = World(2).open()
    world.roll()
    world.stop()
    assert {worker for worker, _ in world.sent} == {(1, 1), (1, 2), (2, 1)}
    for worker in sorted(world.running):
        world.ends(*worker)
    assert world.status == 0


happening = st.tuples(
    st.sampled_from(["serve", "die", "hang", "leave", "roll", "time"]),
    st.integers(0, 5),
    st.sampled_from([0, 1, -9, -15]),
    st.floats(0.0, 40.0),
)


@pytest.mark.parametrize("in_place", [False, True])
@given(st.integers(1, 4), st.lists(happening, max_size=60))
def test_whatever_happens_nothing_is_lost_or_left(in_place, count, happenings):
    """No worker without a process or a date for one; no second process where it can't be; what is
    killed or told to leave exits in the end; after a stop nothing is started, and all end."""
    world = World(count, in_place=in_place).open()
    for kind, pick, status, seconds in happenings:
        running = sorted(world.running)
        chosen = running[pick % len(running)] if running else WorkerId(1, 1)
        match kind:
            case "serve":
                world.serves(*chosen)
            case "die":
                world.ends(*chosen, status=status)
            case "hang":
                world.hangs(*chosen)
            case "leave":
                world.leaves(*chosen)
            case "roll":
                world.roll()
            case "time":
                world.passes(seconds)
        for number, worker in world.fleet.workers.items():
            mine = [process for process in world.running if process.number == number]
            assert mine or worker.due is not None
            assert len(mine) <= (1 if in_place else 2)
    world.stop()
    begun = list(world.launched)
    world.passes(100.0)
    for worker in sorted(world.running):
        assert TERM in world.signals(*worker) or KILL in world.signals(*worker)
        world.ends(*worker)
    assert world.status in (0, 1)
    assert world.launched == begun
