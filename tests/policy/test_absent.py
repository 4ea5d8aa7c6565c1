"""Servers that vouch that they don't have the method: another service's, at an address that was
given out anew, or another version's."""

from itertools import count

import pytest
from grpc import StatusCode

from seawall.policy.hedge import HedgePolicy
from seawall.policy.retry import NEVER, UNSENT_RETRIES, RetryPolicy
from seawall.testing.simulate import Client, Fleet, Replica, gamma
from seawall.testing.simulate.attempt import Attempt, Reported
from tests.policy.support import CHARGE, READ, WATCH, World, fails, ok

LACKS = fails(StatusCode.UNIMPLEMENTED, pushback=0.0)


def called(world, method=READ, *, alone=False):
    """A call that has been made, and what became of it."""
    call = world.call(method)
    call.alone = alone
    return call, world.run(call)


@pytest.mark.parametrize("method", [READ, CHARGE, WATCH], ids=lambda method: method.name)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("policy", [RetryPolicy(), NEVER], ids=["retries", "no retries"])
def test_a_method_that_is_elsewhere_is_found_there_at_once_and_for_nothing(method, alone, policy):
    world = World({"a": LACKS, "b": LACKS, "c": ok()}, policy)
    before = world.budget._tokens
    call, outcome = called(world, method, alone=alone)
    assert outcome.ok
    assert world.sent == ["a", "b", "c"] and world.runner.slept == []
    assert world.budget._tokens == pytest.approx(before + world.budget.ratio)
    assert call.attempt == 1
    assert call.marks == ((("seawall-no-retry", "1"),) if alone else ())


def test_it_is_gone_elsewhere_at_once_whatever_time_the_server_names():
    world = World({"a": fails(StatusCode.UNIMPLEMENTED, pushback=100.0), "b": ok()})
    assert world.run(method=CHARGE).ok
    assert world.runner.slept == []


@pytest.mark.parametrize("method", [READ, CHARGE], ids=lambda method: method.name)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_a_fleet_without_the_method_is_asked_once_each_and_no_more_than_four(method, alone, size):
    world = World(dict.fromkeys("abcdefg"[:size], LACKS), RetryPolicy(max_attempts=5))
    call, outcome = called(world, method, alone=alone)
    assert not outcome.ok and outcome.code is StatusCode.UNIMPLEMENTED
    assert len(world.sent) == len(set(world.sent)) == min(size, 1 + UNSENT_RETRIES)
    assert world.runner.slept == []
    assert f"{len(world.sent)} that" in call.notes[0]
    assert not any(e.outstanding for e in world.group.endpoints)


def test_one_that_connects_meanwhile_is_asked_too():
    """A client's first call goes to whichever address is connected first."""
    world = World({"a": LACKS, "b": ok()})
    late = world.endpoint("b")
    world.group.set_ready(late, False)

    def lacks():
        world.group.set_ready(late, True)
        return LACKS

    world.servers["a"] = lacks
    assert world.run(method=CHARGE).ok
    assert world.sent == ["a", "b"]


def test_what_never_left_and_what_was_not_there_are_free_three_times_together():
    world = World({"a": fails(sent=False), "b": LACKS, "c": LACKS, "d": fails(sent=False)}, NEVER)
    _, outcome = called(world, CHARGE)
    assert not outcome.ok
    assert len(world.sent) == 1 + UNSENT_RETRIES


@pytest.mark.parametrize("method", [READ, CHARGE], ids=lambda method: method.name)
def test_when_those_are_used_up_the_policy_decides(method):
    servers = {name: fails(sent=False) for name in "abc"}
    world = World({**servers, "d": LACKS, "e": ok()})
    before = world.budget.left
    call, outcome = called(world, method)
    assert outcome.ok and call.attempt == 2
    assert world.sent == ["a", "b", "c", "d", "e"] and world.runner.slept == []
    assert world.budget.left == pytest.approx(before - 0.9, abs=0.05)
    world = World({**servers, "d": LACKS, "e": ok()})
    call, outcome = called(world, method, alone=True)
    assert not outcome.ok and "further up" in call.notes[0]


def test_by_the_policy_no_more_than_four_are_asked_either():
    servers = dict.fromkeys("bcdefgh", LACKS)
    world = World({"a": fails(), **servers}, RetryPolicy(max_attempts=5))
    assert not world.run().ok
    assert len(world.sent) == len(set(world.sent)) == 1 + 1 + UNSENT_RETRIES


def test_one_that_failed_otherwise_is_tried_again_as_the_policy_allows_and_no_other():
    turns = count()
    world = World({"a": lambda: ok() if next(turns) else fails(), "b": LACKS})
    call, outcome = called(world)
    assert outcome.ok
    assert world.sent == ["a", "b", "a"] and call.attempt == 3
    world = World({"a": fails(), "b": LACKS}, RetryPolicy(max_attempts=5))
    _, outcome = called(world)
    assert not outcome.ok and outcome.code is StatusCode.UNAVAILABLE
    assert world.sent.count("b") == 1
    world = World({"a": LACKS, "b": fails()})
    _, outcome = called(world)
    assert not outcome.ok and outcome.code is StatusCode.UNAVAILABLE
    assert world.sent == ["a", "b", "b", "b"]


def test_a_call_whose_requests_were_not_kept_is_bound_to_its_attempt():
    world = World({"a": LACKS, "b": ok()})
    call = world.call(WATCH)
    call.committed = True
    assert not world.run(call).ok
    assert world.sent == ["a"]
    assert "more requests had been sent" in call.notes[0]


def test_a_server_that_asks_not_to_be_tried_again_is_not():
    for more in ({}, {"pushback": 0.0}):
        world = World({"a": fails(StatusCode.UNIMPLEMENTED, stop=True, **more), "b": ok()})
        call, outcome = called(world)
        assert not outcome.ok and world.sent == ["a"]
        assert "asked not to be tried again" in call.notes[0]


def test_an_attempt_left_running_may_still_answer_when_the_others_lack_the_method():
    world = World({"a": ok(0.8), "b": LACKS})
    assert world.run(timeout=0.9).ok
    assert world.sent.count("b") == 1
    assert not any(e.outstanding for e in world.group.endpoints)


HEDGED = HedgePolicy(max_attempts=3, delay=0.02)


def test_a_hedged_call_goes_elsewhere_too_and_has_its_hedges_left():
    world = World({"a": LACKS, "b": ok(0.5), "c": ok(0.01)}, hedging=HEDGED)
    assert world.run().ok
    assert world.sent == ["a", "b", "c"]
    assert world.passed == pytest.approx(0.031)


def test_a_hedged_call_waits_for_no_time_that_such_a_server_names():
    servers = {name: fails(sent=False) for name in "abc"}
    lacks = fails(StatusCode.UNIMPLEMENTED, pushback=0.3)
    world = World({**servers, "d": lacks, "e": ok()}, hedging=HEDGED)
    assert world.run().ok
    assert world.sent == ["a", "b", "c", "d", "e"] and world.runner.slept == []


def test_one_that_says_it_late_is_no_answer_and_hastens_the_next_attempt():
    slow = fails(StatusCode.UNIMPLEMENTED, 0.025, pushback=0.0)
    world = World({"a": slow, "b": ok(0.5), "c": ok(0.001)}, hedging=HEDGED)
    assert world.run().ok
    assert world.sent == ["a", "b", "c"]
    assert world.passed == pytest.approx(0.026)


def test_its_breaker_learns_nothing():
    world = World({"a": LACKS, "b": ok()})
    for _ in range(50):
        assert world.run().ok
        world.clock.now += 1.0
    assert world.endpoint("a").breaker.failures == 0


class Stranger(Replica):
    """Another service's: answers each request in 1 ms that it has no such method."""

    def _work(self, attempt: Attempt) -> float:
        attempt.failure = Reported(StatusCode.UNIMPLEMENTED, "Method not found!", pushback=0.0)
        return 0.001


def share_of_extra_attempts(rate: float, clients: int, workers: int | None) -> float:
    """Of calls that must not be run twice, one of three instances being a stranger."""
    replicas = [Stranger(), *(Replica(gamma(0.01), workers=workers) for _ in range(2))]
    callers = [Client(rate, deadline=1.0, idempotent=False) for _ in range(clients)]
    result = Fleet(replicas, callers).run(6)
    assert result.errors() == {}
    return result.attempts_per_call() - 1.0


def test_one_that_answers_at_once_does_not_attract_the_calls():
    assert 0 < share_of_extra_attempts(50, 4, 8) < 0.012


def test_with_many_calls_outstanding_it_has_its_even_share_of_them_at_most_and_none_fails():
    assert 0 < share_of_extra_attempts(2000, 1, None) < 1 / 3


def test_while_others_are_being_connected_they_are_waited_for():
    world = World({"a": LACKS, "b": ok()})
    late = world.endpoint("b")
    world.group.set_ready(late, False)
    late.settled = False
    world.runner.on_await = lambda: world.group.set_ready(late, True)
    assert world.run(method=CHARGE).ok
    assert world.sent == ["a", "b"]


def test_nobody_is_waited_for_who_can_not_be_connected_or_beyond_the_deadline():
    world = World({"a": LACKS, "b": ok()})
    late = world.endpoint("b")
    world.group.set_ready(late, False)
    outcome = world.run(method=CHARGE)
    assert not outcome.ok and outcome.code is StatusCode.UNIMPLEMENTED
    assert world.passed < 0.01
    late.settled = False
    outcome = world.run(method=CHARGE, timeout=0.5)
    assert not outcome.ok and outcome.code is StatusCode.UNIMPLEMENTED
    assert 0.5 <= world.passed < 0.52
