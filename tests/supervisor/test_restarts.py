"""When a worker is started again, and when it counts as hung."""

import pytest

from seawall.supervisor.liveness import Answer, Liveness
from seawall.supervisor.restarts import BackOff
from seawall.supervisor.timing import Timing

ALIVE, SILENT, WEDGED = Answer.ALIVE, Answer.SILENT, Answer.WEDGED


def test_pauses_double_up_to_the_longest():
    back_off = BackOff(Timing(most_a_minute=100))
    pauses = [back_off.pause(now=0.0, served=0.0) for _ in range(9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_thousand_failures_do_not_overflow():
    back_off = BackOff(Timing(most_a_minute=10**6))
    assert [back_off.pause(0.0, 0.0) for _ in range(2000)][-1] == 10.0


def test_a_worker_that_served_is_started_at_once_and_begins_anew():
    back_off = BackOff(Timing())
    assert [back_off.pause(0.0, 0.9) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [back_off.pause(0.0, 1.0) for _ in range(2)] == [0.0, 0.0]
    assert back_off.pause(0.0, 0.0) == 0.1


def test_one_that_is_killed_from_outside_is_started_at_once_however_short_it_served():
    back_off = BackOff(Timing())
    assert [back_off.pause(0.0, 0.0, from_outside=True) for _ in range(9)] == [0.0] * 9
    assert back_off.pause(0.0, 0.0) == 0.1


BOTH = pytest.mark.parametrize("from_outside", [False, True])


@BOTH
def test_more_than_so_many_a_minute_have_to_wait(from_outside):
    back_off = BackOff(Timing(most_a_minute=3))

    def pause(now: float) -> float:
        return back_off.pause(now, 1.0, from_outside=from_outside)

    assert [pause(now) for now in (0.0, 1.0, 2.0)] == [0.0] * 3
    assert pause(3.0) == pytest.approx(60 - 3), "when the first of three is a minute ago"
    assert pause(60.5) == pytest.approx(1 + 60 - 60.5)
    assert pause(300.0) == 0.0


@BOTH
@pytest.mark.parametrize("served", [0.0, 1.0])
@pytest.mark.parametrize("most", [1, 2, 10])
def test_in_no_minute_are_there_more_starts(most, served, from_outside):
    back_off = BackOff(Timing(most_a_minute=most))
    now, starts = 0.0, []
    for _ in range(50):
        now += back_off.pause(now, served, from_outside=from_outside)
        starts.append(now)
    assert all(
        later - start >= 60.0 - 1e-6 for start, later in zip(starts, starts[most:], strict=False)
    )


def ask(judge: Liveness, *answers: Answer, begin: float = 0.0, every: float = 2.0):
    """Questions at even intervals, each answered, or not, within a second; the last verdict."""
    verdict = None
    for number, answer in enumerate(answers):
        asked = begin + number * every
        verdict = judge.heard(asked, asked + (0.001 if answer is ALIVE else 1.0), answer)
    return verdict


def judge(patience: float = 5.0) -> Liveness:
    return Liveness(Timing(hang=patience, wedged=4.0, ask=1.0), limit=1.0)


def test_silence_for_as_long_as_it_is_given_is_a_hang():
    assert ask(judge(), ALIVE, SILENT, SILENT) is None
    assert ask(judge(), ALIVE, SILENT, SILENT, SILENT) == 5.0


def test_a_few_questions_in_a_row_are_needed_however_short_the_patience():
    assert ask(judge(0.5), SILENT, SILENT) is None
    assert ask(judge(0.5), SILENT, SILENT, SILENT) is not None


def test_an_answer_forgives_the_silence_before_it():
    assert ask(judge(), SILENT, SILENT, ALIVE, SILENT, SILENT) is None


def test_what_it_says_of_itself_is_believed_at_once():
    assert ask(judge(), ALIVE, WEDGED) == 5.0
    assert ask(judge(8.0), ALIVE, WEDGED, WEDGED) is None
    assert ask(judge(8.0), ALIVE, WEDGED, WEDGED, SILENT) == 9.0
    assert ask(judge(8.0), ALIVE, WEDGED, ALIVE, SILENT, SILENT) is None


def test_nobody_is_blamed_for_the_time_in_which_the_supervisor_was_frozen():
    one = judge()
    ask(one, SILENT, SILENT)
    assert one.heard(1000.0, 1001.0, SILENT) is None, "a gap between two questions"
    assert ask(one, SILENT, SILENT, begin=1002.0) is None
    assert one.heard(1006.0, 1500.0, SILENT) is None, "a gap within a question"
    assert ask(one, SILENT, SILENT, begin=1501.0) is None
    assert ask(one, SILENT, begin=1505.0) is not None
