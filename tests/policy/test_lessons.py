from itertools import pairwise

import pytest
from grpc import StatusCode

from seawall.balancer.least_loaded import LeastLoaded
from seawall.call import Call, Failure, Success
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.lessons import MOST_SUSPICION, SUSPICION, Lessons
from seawall.policy.retry import RetryPolicy
from tests.policy.support import READ, World, fails, ok

NEVER_OPEN = BreakerPolicy(consecutive_failures=1000)


def turns_of_the_bad_one(world, seconds) -> list[float]:
    """When ``a`` was tried in these seconds, with a call each 0.1 s."""
    began, turns = world.clock.now, []
    while world.clock.now < began + seconds:
        world.run()
        if world.sent[-1] == "a":
            turns.append(world.clock.now - began)
        world.clock.now += 0.1
    return turns


def world_of(bad):
    servers = {"b": ok(0.005), "a": bad, "c": ok(0.005)}
    return World(servers, RetryPolicy(max_attempts=1), breaker_policy=NEVER_OPEN)


def test_who_only_fails_is_tried_later_and_later():
    world = world_of(fails())
    world.runner.sent.clear()
    turns = turns_of_the_bad_one(world, 300)
    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert gaps[0] == pytest.approx(SUSPICION + 5.3, abs=2)
    assert gaps[1] == pytest.approx(2 * SUSPICION + 5.3, abs=2)
    assert max(gaps) < MOST_SUSPICION + 8
    assert len(turns) < 10


def test_an_answer_makes_up_for_it():
    world = world_of(fails())
    turns_of_the_bad_one(world, 60)
    world.servers["a"] = ok(0.005)
    assert len(turns_of_the_bad_one(world, 120)) > 100


def test_the_only_one_is_tried_all_the_same():
    world = World({"a": fails()}, RetryPolicy(max_attempts=1), breaker_policy=NEVER_OPEN)
    assert len(turns_of_the_bad_one(world, 3)) > 25


class Pressure:
    wary = True

    def __init__(self):
        self.heard = []

    def answered(self):
        self.heard.append("answered")

    def refused(self):
        self.heard.append("refused")


@pytest.mark.parametrize(
    ("outcome", "heard"),
    [
        (Success("answer"), ["answered"]),
        (Failure(StatusCode.NOT_FOUND), ["answered"]),
        (Failure(StatusCode.INTERNAL), ["answered"]),
        (Failure(StatusCode.RESOURCE_EXHAUSTED), ["answered"]),  # a quota, not an overload
        (Failure(StatusCode.RESOURCE_EXHAUSTED, pushback=0.1), ["refused"]),
        (Failure(StatusCode.DEADLINE_EXCEEDED), []),
        (Failure(StatusCode.UNAVAILABLE, sent=False), []),
        (Failure(StatusCode.UNIMPLEMENTED, pushback=0.0), []),  # perhaps another service's
    ],
)
def test_backpressure_hears_what_was_answered_and_what_was_shed(outcome, heard):
    world, pressure = world_of(ok()), Pressure()
    lessons = Lessons(LeastLoaded(lambda: 0.0, world.clock), world.clock, None, None, pressure)
    call = Call(READ, world.clock.now, None)
    lessons.ended(call, world.group.endpoints[0], outcome, world.clock.now)
    assert pressure.heard == heard
