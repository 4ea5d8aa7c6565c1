"""The supervisor's decisions, in virtual time: first start, repairs, stop."""

import signal

import pytest

from seawall.supervisor.events import (
    StartFailed,
    StopFailed,
    WorkerHung,
    WorkerRestarted,
    WorkerServing,
    WorkerStuck,
)
from seawall.supervisor.signs import Exited, WorkerId
from seawall.supervisor.timing import Timing
from tests.supervisor.world import World

TERM, KILL = signal.SIGTERM, signal.SIGKILL


def test_the_others_start_when_the_first_one_serves():
    world = World(3)
    assert world.launched == [(1, 1)]
    world.serves(1)
    assert world.launched == [(1, 1), (2, 1), (3, 1)]
    assert world.said() == ["worker 1 (pid 101) serves at 127.0.0.1:1"]


@pytest.mark.parametrize(("status", "exit_status"), [(1, 1), (2, 2), (0, 1), (77, 1), (-9, 1)])
def test_a_first_start_that_fails_ends_the_command(status, exit_status):
    world = World(2)
    world.ends(1, status=status)
    assert world.status == exit_status
    assert len(world.of(StartFailed)) == 1
    assert world.launched == [(1, 1)]


def test_when_a_later_one_fails_at_the_first_start_the_others_leave_first():
    world = World(3)
    world.serves(1)
    world.ends(2, status=1)
    assert world.status is None
    assert world.signals(1) == world.signals(3) == [TERM]
    world.ends(1)
    world.ends(3)
    assert world.status == 1
    assert world.said()[-1] == "worker 2 (pid 201) exited with status 1 before it served: giving up"


def test_a_program_that_cannot_be_started_is_told_in_words():
    world = World(1)
    world.running.clear()
    world.hear(Exited(WorkerId(1, 1), None, "Cannot allocate memory"))
    assert world.status == 1
    assert "could not be started: Cannot allocate memory" in world.said()[-1]


def test_one_that_does_not_serve_in_time_is_killed():
    world = World(1, timing=Timing(start=30.0))
    world.passes(29.9)
    assert world.sent == []
    world.passes(0.1)
    assert world.signals(1) == [KILL]
    world.ends(1, status=-9)
    assert world.status == 1
    assert "did not serve within 30 s and was killed" in world.said()[-1]


def test_a_worker_that_crashes_soon_is_started_again_after_a_moment():
    world = World(2).open()
    world.passes(0.9)
    world.ends(1, status=-11)
    assert world.said()[-1] == "worker 1 (pid 101) was killed by SIGSEGV: started again in 0.1 s"
    world.passes(0.09)
    assert (1, 2) not in world.launched
    world.passes(0.02)
    assert world.launched[-1] == (1, 2)
    assert world.of(WorkerRestarted)[0].level == "warning"


def test_a_worker_that_crashes_after_it_has_served_is_started_again_at_once():
    world = World(2).open()
    world.passes(1.0)
    world.ends(1, status=-11)
    assert world.said()[-1] == "worker 1 (pid 101) was killed by SIGSEGV: started again at once"
    world.passes(0.0)
    assert world.launched[-1] == (1, 2)


def test_kills_in_a_row_are_each_repaired_at_once_up_to_so_many_a_minute():
    world = World(2).open()
    for generation in range(1, 11):
        world.ends(1, generation, status=-9)
        assert world.said()[-1].endswith("was killed by SIGKILL: started again at once")
        world.passes(0.0)
        world.serves(1, generation + 1)
    world.ends(1, 11, status=-9)
    assert world.said()[-1].endswith("was killed by SIGKILL: started again in 60 s")


def test_a_worker_that_is_killed_before_it_serves_gets_pauses():
    """As where there is not enough memory to start."""
    world = World(1).open()
    world.ends(1, status=-9)
    for generation in (2, 3, 4):
        world.passes(5.0)
        world.ends(1, generation, status=-9)
    assert [event.pause for event in world.of(WorkerRestarted)] == [0.0, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(0, "left by itself"), (3, "exited with status 3"), (-11, "was killed by SIGSEGV"),
     (-40, "was killed by signal 40")],
)  # fmt: skip
def test_the_reason_is_told_in_words(status, reason):
    world = World(1).open()
    world.ends(1, status=status)
    assert world.of(WorkerRestarted)[0].reason == reason


def test_once_all_have_served_a_failed_start_is_tried_again_for_ever():
    world = World(1).open()
    for generation in range(1, 30):
        world.ends(1, generation, status=1)
        world.passes(60.0)
    assert world.status is None
    assert world.launched[-1] == (1, 30)


def test_a_worker_that_dies_while_others_start_for_the_first_time_is_repaired():
    world = World(2)
    world.serves(1)
    world.ends(1, status=-9)
    world.passes(1.0)
    assert world.launched == [(1, 1), (2, 1), (1, 2)]
    assert world.status is None


def test_one_that_hangs_is_killed_and_started_again():
    world = World(2).open()
    world.hangs(2)
    assert world.signals(2) == [KILL]
    assert world.said()[-1] == "worker 2 (pid 201) has given no sign of life for 10.0 s: killed"
    world.hangs(2)
    assert len(world.of(WorkerHung)) == 1
    world.ends(2, status=-9)
    said = "gave no sign of life for 10.0 s and was killed: started again in 0.1 s"
    assert said in world.said()[-1], "not killed from outside, and just begun to serve"
    world.passes(0.1)
    assert world.launched[-1] == (2, 2)


def test_one_that_leaves_by_itself_has_its_grace_and_is_started_again():
    world = World(1).open()
    world.leaves(1)
    world.hangs(1)
    world.passes(14.9)
    assert world.sent == []
    world.passes(0.2)
    assert world.signals(1) == [KILL]
    world.ends(1, status=-9)
    world.passes(0.2)
    assert world.launched[-1] == (1, 2)


def test_a_stop_in_good_order():
    world = World(2).open()
    world.stop()
    assert world.signals(1) == world.signals(2) == [TERM]
    world.leaves(1)
    world.ends(1)
    assert world.status is None
    world.ends(2, status=-signal.SIGTERM)
    assert world.status == 0


def test_a_stop_while_a_worker_waits_to_be_started_again():
    world = World(1).open()
    world.ends(1, status=-9)
    world.stop()
    assert world.status == 0
    world.passes(100.0)
    assert world.launched == [(1, 1)]


def test_a_stop_before_anything_serves():
    world = World(2)
    world.stop()
    assert world.signals(1) == [TERM]
    world.serves(1)
    assert world.of(WorkerServing) == [], "it is on its way out"
    world.ends(1, status=-signal.SIGTERM)
    assert world.status == 0 and world.launched == [(1, 1)]


def test_one_that_does_not_leave_in_time_is_killed_and_the_status_says_so():
    world = World(2)
    world.serves(1, stop_within=15.0)
    world.serves(2, stop_within=3.0)
    world.stop()
    world.passes(3.0)
    assert world.signals(2) == [TERM, KILL] and world.signals(1) == [TERM]
    world.ends(2, status=-9)
    world.ends(1)
    assert world.status == 1
    assert len(world.of(WorkerStuck)) == len(world.of(StopFailed)) == 1


def test_an_exit_status_at_the_stop_is_told():
    world = World(1).open()
    world.stop()
    world.ends(1, status=4)
    assert world.status == 1
    assert world.said()[-1] == "worker 1 (pid 101) exited with status 4 at the stop"


def test_a_second_signal_kills_all():
    world = World(2).open()
    world.stop()
    world.passes(1.0)
    world.stop()
    assert world.signals(1) == world.signals(2) == [TERM, KILL]
    world.ends(1, status=-9)
    world.ends(2, status=-9)
    assert world.status == 130
    assert world.of(StopFailed) == []
    assert world.said()[-2:] == [
        "stopping 2 workers",
        "asked to stop once more: killing 2 workers",
    ]


def test_the_same_signal_twice_in_a_moment_is_one_wish():
    world = World(1).open()
    world.stop()
    world.passes(0.1)
    world.stop()
    assert world.signals(1) == [TERM]
    world.ends(1)
    assert world.status == 0


def test_news_of_processes_that_are_gone_are_of_no_consequence():
    world = World(1).open()
    world.ends(1, status=-9)
    said = world.said()
    world.serves(1)
    world.hangs(1)
    world.leaves(1)
    world.ends(1)
    assert world.said() == said and world.sent == []
