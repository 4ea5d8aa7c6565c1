import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.errors import CircuitOpen
from seawall.policy.breaker import TRANSITIONS, Breaker, BreakerPolicy, State
from seawall.policy.classify import Verdict
from seawall.policy.retry import NEVER
from seawall.testing.clock import FakeClock
from tests.policy.support import READ, WATCH, World, fails, listing, ok

POLICY = BreakerPolicy(consecutive_failures=3, open_time=1.0, max_open_time=4.0)


def open_breaker(clock: FakeClock) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(clock())
    return breaker


def test_it_opens_at_the_third_failure_in_a_row():
    clock, breaker = FakeClock(), Breaker(POLICY)
    breaker.failed(clock())
    breaker.failed(clock())
    breaker.succeeded()
    breaker.failed(clock())
    breaker.failed(clock())
    assert breaker.state is State.CLOSED and breaker.admits(clock())
    breaker.failed(clock())
    assert breaker.state is State.OPEN and not breaker.admits(clock())


def test_half_open_lets_one_probe_through_at_a_time():
    clock = FakeClock()
    breaker = open_breaker(clock)
    clock.advance(1.0)
    assert breaker.admits(clock())
    assert breaker.acquire(clock())
    assert breaker.state is State.HALF_OPEN
    assert not breaker.admits(clock()) and not breaker.acquire(clock())
    breaker.release()
    assert breaker.admits(clock())


def test_a_probe_that_succeeds_closes_it():
    clock = FakeClock()
    breaker = open_breaker(clock)
    clock.advance(1.0)
    breaker.acquire(clock())
    breaker.succeeded()
    breaker.release()
    assert breaker.state is State.CLOSED and breaker.failures == 0


def test_each_probe_that_fails_doubles_the_time_up_to_the_most():
    clock = FakeClock()
    breaker = open_breaker(clock)
    for open_time in (1.0, 2.0, 4.0, 4.0):
        clock.advance(open_time - 0.001)
        assert not breaker.admits(clock())
        clock.advance(0.001)
        assert breaker.acquire(clock())
        breaker.release()
        breaker.failed(clock())
        assert breaker.state is State.OPEN


EVENTFUL = BreakerPolicy(4, 1.0, 4.0, failure_ratio=0.5, minimum_calls=3, window=4.0)


@given(
    st.lists(st.sampled_from(["fail", "succeed", "acquire", "release", "wait"])),
    st.sampled_from([POLICY, EVENTFUL]),
)
def test_it_only_ever_moves_along_its_table(actions, policy):
    clock = FakeClock()
    moves, told = [], []
    breaker = Breaker(policy, lambda old, new: told.append((old, new)))
    for action in actions:
        before = breaker.state
        match action:
            case "fail":
                breaker.failed(clock())
            case "succeed":
                breaker.succeeded(clock())
            case "acquire":
                breaker.acquire(clock())
            case "release":
                breaker.release()
            case "wait":
                clock.advance(1.5)
        assert breaker.attentive or (breaker.state is State.CLOSED and breaker.failures == 0)
        if breaker.state is not before:
            moves.append((before, breaker.state))
    allowed = {(state, target) for (state, _), target in TRANSITIONS.items()}
    assert set(moves) <= allowed
    assert told == [move for move in moves if State.CLOSED in move]


def test_it_tells_that_it_opens_and_that_it_closes_and_of_no_probe_between():
    clock, told = FakeClock(), []
    breaker = Breaker(POLICY, lambda old, new: told.append((old, new)))
    for _ in range(3):
        breaker.failed(clock())
    for pause in (0.0, 0.1, 1.0, 2.0, 4.0):  # some of them before the open time is over
        clock.advance(pause)
        breaker.acquire(clock())
        breaker.release()
        breaker.failed(clock())
    assert told == [(State.CLOSED, State.OPEN)]
    clock.advance(4.0)
    breaker.acquire(clock())
    breaker.succeeded(clock())
    breaker.release()
    assert told[1:] == [(State.HALF_OPEN, State.CLOSED)]


RATIO = BreakerPolicy(1000, 1.0, 4.0, failure_ratio=0.5, minimum_calls=10, window=10.0)


def alternate(breaker: Breaker, clock: FakeClock, times: int, pause: float = 0.01) -> None:
    """A fault, an answer, a fault..."""
    for number in range(times):
        clock.advance(pause)
        (breaker.succeeded if number % 2 else breaker.failed)(clock())


def test_a_ratio_of_failures_opens_it_though_they_are_not_in_a_row():
    clock, breaker = FakeClock(), Breaker(RATIO)
    alternate(breaker, clock, 9)
    assert breaker.state is State.CLOSED, "too few calls to say anything"
    breaker.failed(clock())
    assert breaker.state is State.OPEN
    assert breaker.why == "6 of 10 calls in 10 s failed"


def test_below_the_ratio_it_stays_closed():
    clock, breaker = FakeClock(), Breaker(RATIO)
    for number in range(300):
        clock.advance(0.01)
        (breaker.failed if number % 3 == 2 else breaker.succeeded)(clock())
    assert breaker.state is State.CLOSED


def test_calls_before_the_window_neither_excuse_nor_accuse():
    clock, breaker = FakeClock(), Breaker(RATIO)
    for _ in range(1000):
        breaker.succeeded(clock())
    clock.advance(11.0)
    for _ in range(9):
        breaker.failed(clock())
    assert breaker.state is State.CLOSED
    clock.advance(11.0)
    breaker.failed(clock())
    assert breaker.state is State.CLOSED
    for _ in range(9):
        breaker.failed(clock())
    assert breaker.state is State.OPEN


def test_the_window_begins_anew_after_a_probe():
    clock, breaker = FakeClock(), Breaker(RATIO)
    alternate(breaker, clock, 11)
    assert breaker.state is State.OPEN
    clock.advance(1.0)
    breaker.acquire(clock())
    breaker.succeeded(clock())
    breaker.release()
    breaker.failed(clock())
    assert breaker.state is State.CLOSED


def test_failures_in_a_row_count_beside_the_ratio():
    clock = FakeClock()
    breaker = Breaker(BreakerPolicy(3, failure_ratio=0.9))
    for _ in range(3):
        breaker.failed(clock())
    assert breaker.state is State.OPEN and breaker.why == "3 in a row failed"


def test_successes_are_only_asked_for_while_they_tell_something():
    clock, plain, counting = FakeClock(), Breaker(POLICY), Breaker(RATIO)
    assert not plain.attentive and counting.attentive
    for breaker in (plain, counting):
        breaker.failed(clock())
        assert breaker.attentive
        breaker.succeeded(clock())
    assert not plain.attentive and counting.attentive
    for _ in range(3):
        plain.failed(clock())
    clock.advance(1.0)
    plain.acquire(clock())
    assert plain.attentive and plain.state is State.HALF_OPEN
    plain.succeeded(clock())
    assert not plain.attentive and plain.state is State.CLOSED


def test_another_policy_holds_from_the_next_failure_on():
    clock, breaker = FakeClock(), Breaker(POLICY)
    breaker.failed(clock())
    breaker.follow(RATIO)
    assert breaker.attentive
    for _ in range(9):
        breaker.failed(clock())
    assert breaker.state is State.CLOSED
    breaker.failed(clock())
    assert breaker.state is State.OPEN
    breaker.follow(POLICY)
    assert breaker.state is State.OPEN and breaker.attentive


def test_what_says_nothing_about_an_endpoint_is_not_a_call_of_the_ratio():
    clock, breaker = FakeClock(), Breaker(RATIO)
    for verdict in (Verdict.CANCELLED, Verdict.UNTOLD, Verdict.ABSENT, Verdict.REFUSED):
        for _ in range(10):
            breaker.learn(verdict, clock())
    breaker.failed(clock())
    assert breaker.state is State.CLOSED
    for _ in range(20):
        breaker.learn(Verdict.OVERLOAD, clock())
        breaker.learn(Verdict.CALLER, clock())
        breaker.learn(Verdict.FAULT, clock())
    assert breaker.state is State.CLOSED


def test_faults_open_it_and_calls_go_elsewhere():
    world = World({"a": fails(), "b": ok()}, breaker_policy=BreakerPolicy(3, 600.0, 600.0))
    for _ in range(20):
        assert world.run().ok
        world.clock.advance(10.0)  # what was learned of latency has faded
    assert world.endpoint("a").breaker.state is State.OPEN
    assert world.sent.count("a") == 3


@pytest.mark.parametrize(
    "code", [StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED, StatusCode.CANCELLED]
)
def test_overload_and_callers_errors_never_count(code):
    world = World({"a": fails(code)}, breaker_policy=POLICY)
    for _ in range(10):
        world.run()
    assert world.endpoint("a").breaker.state is State.CLOSED


def test_when_all_are_open_calls_are_refused_and_told_why():
    world = World({"a": fails()}, NEVER, breaker_policy=BreakerPolicy(3, 60.0, 60.0))
    for _ in range(3):
        world.run()
    probe = world.handler(world.call())
    next(probe)
    outcome = world.run()
    assert outcome.refusal is CircuitOpen and not outcome.sent
    assert "breakers of all 1" in outcome.details
    probe.close()


def test_when_all_are_open_each_is_probed_at_once_and_the_first_answer_closes_it():
    world = World({"a": fails(), "b": fails()}, NEVER, breaker_policy=BreakerPolicy(3, 60.0, 60.0))
    while len(world.group.tripped) < 2:
        world.run()
    world.servers["a"] = world.servers["b"] = ok()
    for _ in range(4):
        assert world.run().ok
    assert len(world.group.tripped) <= 1


def test_an_older_answer_does_not_close_an_open_breaker_nor_keep_it_half_open():
    clock = FakeClock()
    breaker = open_breaker(clock)
    breaker.succeeded()
    assert breaker.state is State.OPEN and breaker.failures == 3
    clock.advance(1.0)
    breaker.acquire(clock())
    breaker.release()
    breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_an_older_answer_that_comes_while_it_is_open_wedges_nothing():
    world = World({"a": ok()}, NEVER, breaker_policy=POLICY)
    older = world.handler(world.call())
    next(older)
    for _ in range(3):
        world.endpoint("a").breaker.failed(world.clock())
    with pytest.raises(StopIteration):
        older.send(ok()[1])
    world.clock.advance(2.0)
    for _ in range(3):
        assert world.run().ok
    assert world.endpoint("a").breaker.state is State.CLOSED


def test_early_probes_that_fail_do_not_lengthen_the_open_time():
    clock = FakeClock()
    breaker = open_breaker(clock)
    for _ in range(20):
        breaker.acquire(clock())
        breaker.release()
        breaker.failed(clock())
    clock.advance(1.0)
    assert breaker.admits(clock())


def test_a_cancelled_probe_frees_its_place():
    world = World({"a": fails()}, breaker_policy=POLICY)
    for _ in range(3):
        world.run()
    world.clock.advance(5.0)
    plan = world.handler(world.call(READ))
    next(plan)
    assert not world.endpoint("a").breaker.admits(world.clock())
    plan.close()
    assert world.endpoint("a").breaker.admits(world.clock())


def test_a_stream_that_breaks_counts_when_it_ends():
    world = World({"a": ok()}, breaker_policy=POLICY)
    call = world.call(WATCH)
    assert world.run(call).ok
    assert world.endpoint("a").outstanding == 1
    _, failure = fails()
    for hook in call.at_end:
        hook(failure)
    assert world.endpoint("a").outstanding == 0
    assert world.endpoint("a").breaker.failures == 1


def test_a_removed_endpoint_no_longer_counts_as_tripped():
    world = World({"a": fails(), "b": ok()}, breaker_policy=POLICY)
    for _ in range(3):
        world.endpoint("a").breaker.failed(world.clock())
    assert world.group.tripped == {world.endpoint("a")}
    world.group.apply(listing("b"))
    assert not world.group.tripped
