"""Adaptive throttling: nothing is kept back while all is well, and never everything."""

from random import Random

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Failure, Success
from seawall.errors import NoEndpoints, Throttled
from seawall.events import ThrottlingEnded, ThrottlingStarted
from seawall.policy.plan import stack
from seawall.policy.retry import NEVER
from seawall.policy.throttle import AdaptiveThrottle, Throttle, throttle
from seawall.testing.clock import FakeClock
from tests.heard import Heard
from tests.policy.stepping import Stepper
from tests.policy.support import READ, World, fails, ok

SERVICE = "shop.v1.Inventory"
OVERLOAD = Failure(StatusCode.RESOURCE_EXHAUSTED, "too much")
POLICY = AdaptiveThrottle()


class Throttled1:
    """A world whose stack has a throttle on top."""

    def __init__(self, server, policy: AdaptiveThrottle = POLICY) -> None:
        self.world = World({"a": server}, NEVER)
        self.heard = Heard()
        self.state = Throttle(policy, SERVICE, self.heard)
        layer = throttle(self.state, self.world.clock, Random(1).random)
        self.world.handler = stack([layer], self.world.handler)

    def run(self, times: int, every: float = 0.01) -> list:
        outcomes = []
        for _ in range(times):
            outcomes.append(self.world.run())
            self.world.clock.advance(every)
        return outcomes

    def kept(self, outcomes) -> int:
        return sum(getattr(o, "refusal", None) is Throttled for o in outcomes)


def test_while_all_is_well_nothing_is_kept_back():
    throttled = Throttled1(ok())
    assert throttled.kept(throttled.run(200)) == 0
    assert not throttled.state.wary and throttled.heard.events == []


def test_an_overloaded_service_gets_a_tenth_and_the_refusals_say_why():
    throttled = Throttled1((0.001, OVERLOAD))
    outcomes = throttled.run(2000)
    assert 0.85 < throttled.kept(outcomes[500:]) / 1500 < 0.95
    last = [o for o in outcomes if o.refusal is Throttled][-1]
    assert last.code is StatusCode.RESOURCE_EXHAUSTED and not last.sent
    assert "shop.v1.Inventory is overloaded" in last.details and "it took 0" in last.details
    (event,) = throttled.heard.events
    assert isinstance(event, ThrottlingStarted) and 0 < event.probability <= POLICY.cap


def test_a_service_that_refuses_as_many_as_it_takes_is_left_alone():
    turns = iter(range(10_000))
    throttled = Throttled1(lambda: (0.001, OVERLOAD) if next(turns) % 2 else ok())
    assert throttled.kept(throttled.run(400)) == 0
    assert throttled.state.wary


def test_the_probability_is_the_books():
    state = Throttle(AdaptiveThrottle(ratio=1.5, allowance=0), SERVICE)
    for _ in range(20):
        state.learn(Success(), 0.0)
    for _ in range(60):
        state.learn(OVERLOAD, 0.0)
    assert state.probability(0.0) == pytest.approx((80 - 1.5 * 20) / 81)


def test_an_overloaded_service_gets_about_twice_what_it_takes():
    taken = [0.0, 0]

    def takes_ten_a_second():
        second = throttled.world.clock() // 1
        taken[:] = [second, taken[1] + 1 if taken[0] == second else 1]
        return ok(0.0) if taken[1] <= 10 else (0.0, OVERLOAD)

    throttled = Throttled1(takes_ten_a_second)
    throttled.run(6000, every=0.01)
    throttled.world.runner.sent.clear()
    throttled.run(3000, every=0.01)
    assert len(throttled.world.sent) / 30 == pytest.approx(2 * 10, rel=0.15)


def test_a_few_refusals_cost_a_client_that_calls_rarely_nothing():
    throttled = Throttled1((0.001, OVERLOAD))
    assert throttled.kept(throttled.run(POLICY.allowance, every=5.0)) == 0


def test_when_the_service_is_well_again_all_goes_through_and_that_is_told():
    throttled = Throttled1((0.001, OVERLOAD))
    throttled.run(500)
    throttled.world.servers["a"] = ok()
    # What is kept back counts too, so a window takes p to 1 - 2 * (1 - p): from 0.9 four of them.
    throttled.run(1200, every=0.1)
    assert throttled.kept(throttled.run(500, every=0.1)) == 0
    kinds = [type(event) for event in throttled.heard.events]
    assert kinds == [ThrottlingStarted, ThrottlingEnded]
    assert not throttled.state.wary


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (Failure(StatusCode.RESOURCE_EXHAUSTED), True),
        (Failure(StatusCode.UNAVAILABLE, pushback=0.1), True),
        (Failure(StatusCode.UNAVAILABLE), False),
        (Failure(StatusCode.DEADLINE_EXCEEDED), False),
        (Failure(StatusCode.INTERNAL), False),
        (Failure(StatusCode.NOT_FOUND), False),
        (Failure(StatusCode.UNIMPLEMENTED), False),
        (Failure(StatusCode.CANCELLED), None),
        (Failure(StatusCode.UNKNOWN, untold=True), None),
        (Failure(StatusCode.UNAVAILABLE, sent=False), None),
        (Failure(StatusCode.RESOURCE_EXHAUSTED, sent=False, refusal=NoEndpoints), None),
        (Success(), False),
    ],
    ids=lambda value: repr(value) if not isinstance(value, bool | None) else None,
)
def test_only_what_the_service_refuses_counts_against_it(outcome, counts):
    state = Throttle(POLICY, SERVICE)
    state.learn(outcome, 0.0)
    expected = {True: (0, 1), False: (1, 0), None: (0, 0)}[counts]
    assert state._window.counts(0.0) == expected and state.wary is bool(counts)


def test_calls_under_way_look_neither_taken_nor_refused():
    world = World({"a": ok()}, NEVER)
    state = Throttle(AdaptiveThrottle(allowance=0), SERVICE)
    handler = throttle(state, world.clock, lambda: 0.0)(world.handler)
    stepper = Stepper(world.clock)
    runs = [stepper.start(call, handler(call)) for call in (world.call() for _ in range(50))]
    assert all(run.sent for run in runs)
    stepper.cancel(runs.pop())
    for run in runs:
        stepper.answer(run, Success())
    assert state.probability(world.clock()) == 0.0 and state._window.counts(world.clock()) == (
        49,
        0,
    )


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ok", "overload", "fault", "cancelled"]), st.floats(0.0, 9.0)),
    max_size=80,
)


@given(EVENTS, st.floats(1.0, 5.0), st.floats(0.0, 0.99), st.integers(0, 9), st.randoms())
def test_the_probability_keeps_its_bounds(events, ratio, cap, allowance, random):
    clock = FakeClock()
    state = Throttle(AdaptiveThrottle(ratio, 30.0, cap, allowance), SERVICE)
    outcomes = {
        "ok": Success(),
        "overload": OVERLOAD,
        "fault": Failure(StatusCode.INTERNAL),
        "cancelled": Failure(StatusCode.CANCELLED),
    }
    refused = False
    for kind, pause in events:
        if not (state.wary and state.refuses(clock(), random.random())):
            state.learn(outcomes[kind], clock())
            refused = refused or kind == "overload"
        assert 0.0 <= state.probability(clock()) <= cap
        assert refused or (state.probability(clock()) == 0.0 and not state.wary)
        clock.advance(pause)
    clock.advance(30.0)
    assert state.probability(clock()) == 0.0


def test_a_throttled_call_is_refused_before_anything_is_picked():
    world = World({"a": ok()}, NEVER)
    state = Throttle(AdaptiveThrottle(allowance=0), SERVICE)
    for _ in range(10):
        state.learn(OVERLOAD, world.clock())
    world.handler = throttle(state, world.clock, lambda: 0.0)(world.handler)
    assert world.run(method=READ).refusal is Throttled and world.sent == []


def test_answers_of_faulty_servers_are_the_breakers_business():
    throttled = Throttled1(fails(StatusCode.INTERNAL))
    assert throttled.kept(throttled.run(200)) == 0
