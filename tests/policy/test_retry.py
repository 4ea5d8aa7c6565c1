from itertools import count

import pytest
from grpc import StatusCode

from seawall.call import Call, Failure
from seawall.policy.budget import RetryBudget, RetryThrottle
from seawall.policy.hedge import HedgePolicy
from seawall.policy.retry import NEVER, RetryPolicy
from tests.policy.support import CHARGE, READ, WATCH, World, fails, ok

EXPLICIT = RetryPolicy(attempt_timeout=0.1)


def test_a_success_is_sent_once():
    world = World({"a": ok()})
    assert world.run().ok
    assert world.sent == ["a"]


def test_an_idempotent_call_is_retried_elsewhere():
    world = World({"a": fails(), "b": ok()})
    assert world.run().ok
    assert world.sent == ["a", "b"]


def test_backoff_grows_and_is_jittered_by_a_fifth():
    policy = RetryPolicy(initial_backoff=0.1, max_backoff=0.3, multiplier=2)
    assert [policy.backoff(n, lambda: 0.5) for n in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert policy.backoff(0, lambda: 0.0) == pytest.approx(0.08)
    assert policy.backoff(0, lambda: 1.0) == pytest.approx(0.12)


def test_no_more_attempts_than_the_policy_allows():
    world = World({"a": fails(), "b": fails(), "c": fails(), "d": fails()})
    call = world.call()
    outcome = world.run(call)
    assert not outcome.ok and outcome.code is StatusCode.UNAVAILABLE
    assert len(world.sent) == 3 and len(set(world.sent)) == 3
    assert any("3 attempts" in note for note in call.notes)


def test_a_call_that_may_have_run_is_not_repeated_unless_marked_idempotent():
    world = World({"a": fails(), "b": ok()})
    call = world.call(CHARGE)
    assert not world.run(call).ok
    assert world.sent == ["a"]
    assert "not marked idempotent" in call.notes[0]


@pytest.mark.parametrize("code", [StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize("hedging", [None, HedgePolicy(delay=0.02)], ids=["retried", "hedged"])
def test_a_code_that_the_policy_does_not_list_is_told(code, hedging):
    world = World({"a": fails(code), "b": ok()}, hedging=hedging)
    call = world.call()
    assert not world.run(call).ok and world.sent == ["a"]
    assert call.notes[0] == f"not retried: {code.name} is not one of the policy's codes"
    assert len(call.notes) == 2


@pytest.mark.parametrize(
    "code", [StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.ABORTED]
)
def test_of_a_callers_error_nobody_need_be_told_that_it_is_not_retried(code):
    world = World({"a": fails(code), "b": ok()})
    call = world.call()
    assert not world.run(call).ok and len(call.notes) == 1


def test_a_code_is_no_reason_where_nothing_is_retried_or_no_time_is_left():
    world = World({"a": fails(StatusCode.INTERNAL)}, NEVER)
    call = world.call()
    assert not world.run(call).ok and len(call.notes) == 1
    world = World({"a": fails(StatusCode.DEADLINE_EXCEEDED, 1.0)})
    call = world.call(CHARGE, timeout=1.0)
    assert not world.run(call).ok and len(call.notes) == 1


@pytest.mark.parametrize(
    "failure",
    [
        fails(sent=False),
        fails(pushback=0.0),
        fails(StatusCode.RESOURCE_EXHAUSTED, pushback=0.0),
    ],
    ids=["never sent", "server vouches", "overloaded server vouches"],
)
def test_a_call_that_provably_did_not_run_is_repeated_whatever_it_is(failure):
    world = World({"a": failure, "b": ok()})
    assert world.run(method=CHARGE).ok
    assert world.sent == ["a", "b"]


def test_the_policy_may_say_expressly_to_repeat_what_is_not_idempotent():
    world = World({"a": fails(), "b": ok()}, RetryPolicy(non_idempotent=True))
    assert world.run(method=CHARGE).ok


@pytest.mark.parametrize(
    "code",
    [
        StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL,
        StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.ABORTED,
    ],
)  # fmt: skip
def test_codes_that_the_policy_does_not_list_are_final(code):
    world = World({"a": fails(code), "b": ok()})
    outcome = world.run()
    assert not outcome.ok and outcome.code is code
    assert world.sent == ["a"]


def test_what_a_stopping_server_cancels_is_tried_elsewhere_if_it_is_idempotent():
    world = World({"a": fails(StatusCode.CANCELLED), "b": ok()})
    assert world.run().ok
    assert world.sent == ["a", "b"]
    world = World({"a": fails(StatusCode.CANCELLED), "b": ok()})
    assert not world.run(method=CHARGE).ok
    assert world.sent == ["a"]


def test_codes_that_the_policy_lists_are_retried():
    world = World({"a": fails(StatusCode.INTERNAL), "b": ok()},
                  RetryPolicy(codes=frozenset({StatusCode.INTERNAL})))  # fmt: skip
    assert world.run().ok


def test_pushback_is_waited_for_exactly_and_do_not_retry_is_honoured():
    world = World({"a": fails(pushback=0.3), "b": ok()})
    assert world.run().ok
    assert world.runner.slept == [0.3]
    world = World({"a": fails(stop=True), "b": ok()})
    call = world.call()
    assert not world.run(call).ok
    assert "asked not to be tried again" in call.notes[0]


def test_a_pushback_of_days_is_a_no():
    world = World({"a": fails(pushback=1e6), "b": ok()})
    call = world.call(timeout=None)
    assert not world.run(call).ok
    assert "asked to wait 1e+06 s" in call.notes[0]


def test_no_retry_that_the_deadline_would_cut_off():
    world = World({"a": fails(pushback=2.0), "b": ok()})
    call = world.call(timeout=1.0)
    assert not world.run(call).ok
    assert world.clock() == pytest.approx(1000.001)
    assert "deadline would pass" in call.notes[0]


def test_what_never_left_is_repeated_at_once_and_costs_no_budget():
    world = World({"a": fails(sent=False), "b": fails(sent=False), "c": ok()})
    before = world.budget._tokens
    assert world.run().ok
    assert world.runner.slept == []
    assert world.budget._tokens == pytest.approx(before + world.budget.ratio)


def test_what_never_leaves_is_not_repeated_for_ever():
    world = World({"a": fails(sent=False)})
    assert not world.run().ok
    assert len(world.sent) <= 6


def test_a_spent_budget_stops_retries_and_time_refills_it():
    world = World({"a": fails(), "b": ok()})
    while world.budget.spend():
        pass
    call = world.call()
    assert not world.run(call).ok
    assert "budget is spent" in call.notes[0]
    world.clock.advance(1.0)
    assert world.run().ok


def test_the_budget_is_a_share_of_requests_beyond_a_floor():
    world = World({"a": ok()})
    budget = RetryBudget(world.clock, ratio=0.125, floor=0.0)
    for _ in range(100):
        budget.request()
    spent = 0
    while budget.spend():
        spent += 1
    assert spent == 12


def test_grpc_throttle_stops_at_half_of_its_tokens():
    throttle = RetryThrottle(10, 0.5)
    for _ in range(4):
        throttle.failure()
    assert throttle.available()
    throttle.failure()
    assert not throttle.available()
    throttle.success()
    assert throttle.available()


def test_a_frozen_instance_costs_a_share_of_the_deadline_and_not_all_of_it():
    world = World({"a": ok(1e9), "b": ok()})
    assert world.run(timeout=0.9).ok
    assert world.sent == ["a", "b"]
    assert world.clock() == pytest.approx(1000.305)


def test_a_method_that_takes_long_is_answered_by_its_first_attempt():
    """Were the attempt given up, none of three would ever have the time it needs."""
    world = World({"a": ok(0.5), "b": ok(0.5), "c": ok(0.5)})
    outcome = world.run(timeout=0.9)
    assert outcome.ok
    assert world.clock() == pytest.approx(1000.5)
    assert world.sent == ["a", "b"]
    assert {e.breaker.failures for e in world.group.endpoints} == {0}
    assert {e.outstanding for e in world.group.endpoints} == {0}


def test_an_attempt_left_running_that_loses_counts_against_its_endpoint():
    world = World({"a": ok(1e9), "b": ok()})
    world.run(timeout=0.9)
    assert world.endpoint("a").breaker.failures == 1
    assert world.endpoint("a").outstanding == 0


def test_an_attempt_left_running_may_still_answer_when_the_others_have_failed():
    world = World({"a": ok(0.8), "b": fails(), "c": fails()})
    outcome = world.run(timeout=0.9)
    assert outcome.ok
    assert world.clock() == pytest.approx(1000.8)


def test_without_a_budget_a_slow_attempt_is_waited_for():
    world = World({"a": ok(0.6), "b": ok()})
    while world.budget.spend():
        pass
    assert world.run(timeout=0.9).ok
    assert world.sent == ["a"]


def test_without_another_endpoint_a_slow_attempt_is_waited_for():
    world = World({"a": ok(0.8)})
    assert world.run(timeout=0.9).ok
    assert world.sent == ["a"]


def test_an_endpoint_that_connects_during_a_slow_attempt_is_tried():
    """A client's first call goes to whichever instance is connected first."""
    world = World({"a": ok(1e9), "b": ok()})
    late = world.endpoint("b")
    world.group.set_ready(late, False)

    def frozen():
        world.group.set_ready(late, True)
        return ok(1e9)

    world.servers["a"] = frozen
    assert world.run(timeout=0.9).ok
    assert world.sent == ["a", "b"]


def test_a_method_that_one_instance_lacks_is_called_elsewhere():
    world = World({"a": fails(StatusCode.UNIMPLEMENTED), "b": ok()})
    for _ in range(20):
        assert world.run().ok
    assert world.sent.count("a") == 1  # it did not look fast
    assert world.endpoint("a").breaker.failures == 0
    assert world.runner.slept == []
    assert not World({"a": fails(StatusCode.UNIMPLEMENTED)}).run(method=CHARGE).ok


def test_an_explicit_limit_ends_the_attempt():
    world = World({"a": ok(0.5), "b": ok()}, EXPLICIT)
    assert world.run(timeout=0.9).ok
    assert world.clock() == pytest.approx(1000.105)
    assert world.sent == ["a", "b"]


@pytest.mark.parametrize("method", [CHARGE, WATCH], ids=["not idempotent", "stream"])
def test_no_limit_of_its_own_accord_for(method):
    world = World({"a": ok(0.8), "b": ok()})
    assert world.run(method=method, timeout=0.9).ok
    assert world.sent == ["a"]


def test_requests_that_were_not_kept_bind_the_call_to_its_attempt():
    world = World({"a": fails(), "b": ok()})
    call = world.call()
    call.committed = True
    assert not world.run(call).ok
    assert world.sent == ["a"]


def test_the_last_attempt_has_all_the_time_that_is_left():
    numbers = count()

    def slow():
        return (1e9, Failure(StatusCode.UNKNOWN)) if next(numbers) < 2 else ok(0.25)

    world = World({"a": slow, "b": slow, "c": slow})
    assert world.run(timeout=0.9).ok
    assert world.clock() == pytest.approx(1000.85)


def test_cancelling_a_plan_releases_what_it_holds():
    world = World({"a": ok()})
    plan = world.handler(Call(READ, world.clock(), None))
    next(plan)
    assert world.endpoint("a").outstanding == 1
    plan.close()
    assert world.endpoint("a").outstanding == 0


def test_a_late_attempts_answer_that_no_other_could_better_ends_the_call():
    world = World({"a": fails(StatusCode.NOT_FOUND, 0.5), "b": ok(5.0)})
    outcome = world.run()
    assert not outcome.ok and outcome.code is StatusCode.NOT_FOUND
    assert world.passed == pytest.approx(0.5)


def test_a_repeated_attempt_says_so_and_asks_that_nobody_repeats_below():
    seen = []
    world = World({"a": fails(), "b": fails(), "c": ok()})
    answer = world.runner.answer
    world.runner.answer = lambda call, endpoint: seen.append(call.marks) or answer(call, endpoint)
    assert world.run().ok
    assert seen == [
        (),
        (("seawall-attempt", "2"), ("seawall-no-retry", "1")),
        (("seawall-attempt", "3"), ("seawall-no-retry", "1")),
    ]


def test_a_call_made_for_a_repeated_attempt_is_not_repeated():
    for failure in (fails(), fails(pushback=0.0), fails(StatusCode.UNIMPLEMENTED)):
        world = World({"a": failure, "b": ok()})
        call = world.call()
        call.alone = True
        assert not world.run(call).ok
        assert world.sent == ["a"]
        assert call.marks == (("seawall-no-retry", "1"),)
        assert "further up" in call.notes[0]
    world = World({"a": fails(sent=False), "b": ok()})
    call = world.call()
    call.alone = True
    assert world.run(call).ok, "what never left the client costs nobody anything"
