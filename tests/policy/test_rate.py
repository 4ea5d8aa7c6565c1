"""Rate limits: never more than the burst and the rate allow, first come first served."""

from collections.abc import Callable

import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seawall.call import Call, Endpoint, Success
from seawall.errors import DeadlinePassed, RateLimited
from seawall.policy.plan import send
from seawall.policy.rate import RateLimit, RatePolicy, rate_limit
from seawall.testing.clock import FakeClock
from seawall.testing.plans import instance
from tests.policy.stepping import Running, Stepper
from tests.policy.support import READ

ENDPOINT = Endpoint(instance(), None, None)


class Limited:
    """A rate limit, and calls that go through it; ``began`` lists when."""

    def __init__(self, per_second: float, burst: int | None = None, max_wait: float = 0.0) -> None:
        self.clock = FakeClock()
        self.stepper = Stepper(self.clock)
        self.state = RateLimit(RatePolicy(per_second, burst, max_wait), "shop.v1.Inventory")
        self.began: list[tuple[float, Call]] = []
        self.handler = rate_limit(self.state, self.clock)(self._begin)

    def _begin(self, call: Call):
        self.began.append((self.clock(), call))
        return send(call)

    def start(self, timeout: float | None = None) -> Running:
        deadline = None if timeout is None else self.clock() + timeout
        call = Call(READ, self.clock(), deadline)
        call.endpoint = ENDPOINT
        return self.stepper.start(call, self.handler(call))

    @property
    def times(self) -> list[float]:
        return [at - 1000.0 for at, _ in self.began]


def test_a_burst_and_then_the_rate():
    limited = Limited(10.0, 3)
    assert [limited.start().sent for _ in range(4)] == [True, True, True, False]
    limited.stepper.advance(0.1)
    assert [limited.start().sent for _ in range(2)] == [True, False]


def test_the_burst_is_what_a_second_gives_unless_it_is_said():
    limited = Limited(10.0)
    assert sum(limited.start().sent for _ in range(20)) == 10
    slow = Limited(0.5)
    assert [slow.start().sent for _ in range(2)] == [True, False]


@pytest.mark.parametrize("pause", [0.3, 100.0])
def test_no_pause_saves_up_more_than_the_burst(pause):
    limited = Limited(10.0, 3)
    limited.start()
    limited.start()
    limited.stepper.advance(pause)
    assert [limited.start().sent for _ in range(4)] == [True, True, True, False]


def test_the_refusal_says_when_there_is_a_turn_and_what_to_change():
    limited = Limited(10.0, 1)
    limited.start()
    outcome = limited.start().outcome
    assert outcome.refusal is RateLimited and outcome.code is StatusCode.RESOURCE_EXHAUSTED
    assert not outcome.sent
    assert "10 calls a second, and the next one in 0.1 s" in outcome.details
    assert '"perSecond"' in outcome.details


def test_a_call_waits_for_its_turn_if_it_may_and_turns_are_in_order():
    limited = Limited(10.0, 1, max_wait=0.35)
    runs = [limited.start() for _ in range(5)]
    assert runs[4].outcome.refusal is RateLimited
    limited.stepper.advance(1.0)
    assert [call for _, call in limited.began] == [run.call for run in runs[:4]]
    assert limited.times == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_who_would_wait_beyond_its_deadline_is_refused_at_once():
    limited = Limited(1.0, 1, max_wait=10.0)
    limited.start()
    assert limited.start(timeout=0.5).outcome.refusal is RateLimited
    assert not limited.start(timeout=1.5).over


def test_a_turn_that_comes_too_late_is_not_used():
    limited = Limited(10.0, 1, max_wait=1.0)
    limited.start()
    run = limited.start(timeout=0.2)
    limited.clock.advance(0.3)  # the event loop was busy
    limited.stepper.advance(0.0)
    assert run.outcome.refusal is DeadlinePassed and len(limited.began) == 1
    assert run.outcome.code is StatusCode.DEADLINE_EXCEEDED and not run.outcome.sent


def test_turns_given_up_at_the_end_are_free_again_whatever_their_order():
    limited = Limited(10.0, 1, max_wait=0.35)
    limited.start()
    runs = [limited.start() for _ in range(3)]
    assert limited.start().over
    for run in runs:
        limited.stepper.cancel(run)
    again = [limited.start() for _ in range(3)]
    assert not any(run.over for run in again)
    limited.stepper.advance(1.0)
    assert limited.times == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_turn_given_up_before_others_is_not_given_twice():
    limited = Limited(10.0, 1, max_wait=0.35)
    limited.start()
    runs = [limited.start() for _ in range(3)]
    limited.stepper.cancel(runs[0])
    assert limited.start().over
    limited.stepper.advance(1.0)
    assert limited.times == pytest.approx([0.0, 0.2, 0.3])


def within_bounds(times: list[float], per_second: float, burst: int) -> bool:
    """Whether in no stretch of time more began than may."""
    return all(
        later + 1 - earlier <= burst + per_second * (times[later] - times[earlier]) + 1e-6
        for earlier in range(len(times))
        for later in range(earlier, len(times))
    )


@given(
    st.floats(0.01, 1000.0),
    st.integers(1, 20),
    st.lists(st.floats(0.0, 3.0) | st.just(0.0), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(per_second, burst, pauses):
    limited = Limited(per_second, burst)
    for pause in pauses:
        limited.stepper.advance(pause / per_second)
        limited.start()
    assert within_bounds(limited.times, per_second, burst)
    limited.stepper.advance(1.0 / per_second + 1e-6)
    assert limited.start().sent, "there is a turn after the time of one"


class RateMachine(RuleBasedStateMachine):
    """Calls that come, wait, begin and are cancelled in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.limited = Limited(10.0, 3, max_wait=0.5)
        self.came: list[Call] = []

    @rule(timeout=st.sampled_from([None, 0.05, 0.3]))
    def call(self, timeout: float | None) -> None:
        self.came.append(self.limited.start(timeout).call)

    @precondition(lambda self: self.limited.stepper.running)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        stepper = self.limited.stepper
        stepper.cancel(data.draw(st.sampled_from(stepper.running)))

    @precondition(lambda self: any(run.sent for run in self.limited.stepper.running))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        stepper = self.limited.stepper
        sent = [run for run in stepper.running if run.sent]
        stepper.answer(data.draw(st.sampled_from(sent)), Success())

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.25, 2.0]))
    def advance(self, seconds: float) -> None:
        self.limited.stepper.advance(seconds)

    @invariant()
    def never_too_fast(self) -> None:
        assert within_bounds([at for at, _ in self.limited.began], 10.0, 3)

    @invariant()
    def first_come_first_served(self) -> None:
        order = [self.came.index(call) for _, call in self.limited.began]
        assert order == sorted(order)

    def teardown(self) -> None:
        self.limited.stepper.advance(1.0)
        assert all(run.sent for run in self.limited.stepper.running)


TestRateMachine: Callable = RateMachine.TestCase
TestRateMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_what_was_taken_stays_taken_when_the_numbers_change():
    limited = Limited(10.0, 5)
    assert sum(limited.start().sent for _ in range(6)) == 5
    limited.state.follow(RatePolicy(10.0, 5), limited.clock())
    assert not limited.start().sent
    limited.state.follow(RatePolicy(1000.0, 5), limited.clock())
    assert not limited.start().sent
    limited.stepper.advance(0.003)
    assert sum(limited.start().sent for _ in range(6)) == 3
    limited.stepper.advance(10.0)
    limited.state.follow(RatePolicy(1000.0, 2), limited.clock())
    assert sum(limited.start().sent for _ in range(6)) == 2


def test_one_that_was_never_used_begins_with_its_burst():
    limited = Limited(10.0, 5)
    limited.state.follow(RatePolicy(10.0, 7), limited.clock())
    assert sum(limited.start().sent for _ in range(9)) == 7
