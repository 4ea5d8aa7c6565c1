import pytest
from grpc import StatusCode

from seawall.policy.budget import RetryBudget
from seawall.policy.hedge import HedgePolicy
from seawall.policy.percentile import FEWEST, WINDOW, Percentile
from tests.policy.support import CHARGE, WATCH, World, fails, ok

AFTER_20_MS = HedgePolicy(delay=0.02)


def test_a_slow_attempt_gets_another_beside_it_and_the_first_answer_wins():
    world = World({"a": ok(0.5), "b": ok(0.01)}, hedging=AFTER_20_MS)
    assert world.run().ok
    assert world.sent == ["a", "b"]
    assert world.passed == pytest.approx(0.03)
    assert not any(e.outstanding for e in world.group.endpoints)


def test_the_first_attempt_may_still_win():
    world = World({"a": ok(0.03), "b": ok(0.5)}, hedging=AFTER_20_MS)
    call = world.call()
    assert world.run(call).ok
    assert world.passed == pytest.approx(0.03)
    assert call.endpoint.address == "a"


def test_a_quick_answer_is_not_hedged():
    world = World({"a": ok(0.01), "b": ok()}, hedging=AFTER_20_MS)
    assert world.run().ok
    assert world.sent == ["a"]


def test_what_is_not_idempotent_or_streams_is_not_hedged():
    for method in (CHARGE, WATCH):
        world = World({"a": ok(0.5), "b": ok()}, hedging=AFTER_20_MS)
        assert world.run(method=method).ok
        assert world.sent == ["a"]


def test_hedges_spend_the_budget():
    world = World({"a": ok(0.5), "b": ok()}, hedging=AFTER_20_MS, budget=None)
    world.budget._tokens = 0.0
    assert world.run().ok
    assert world.sent == ["a"]
    empty = World(
        {"a": ok(0.5), "b": ok()},
        hedging=AFTER_20_MS,
        budget=RetryBudget(lambda: 0.0, ratio=0.0, floor=0.1),
    )
    for _ in range(3):
        assert empty.run().ok
    assert len(empty.sent) == 4  # 10 s of the floor are one hedge


def test_a_failure_that_is_no_answer_begins_the_next_attempt_at_once():
    world = World({"a": fails(), "b": ok()}, hedging=AFTER_20_MS)
    assert world.run().ok
    assert world.sent == ["a", "b"] and not world.runner.slept
    assert world.passed < 0.02


def test_a_late_failure_that_is_no_answer_hastens_the_next_attempt():
    policy = HedgePolicy(max_attempts=3, delay=0.02)
    world = World({"a": fails(seconds=0.025), "b": ok(0.5), "c": ok(0.001)}, hedging=policy)
    assert world.run().ok
    assert world.sent == ["a", "b", "c"]
    assert world.passed == pytest.approx(0.026)


def test_a_late_failure_of_another_kind_ends_the_call():
    world = World({"a": fails(StatusCode.NOT_FOUND, 0.03), "b": ok(0.5)}, hedging=AFTER_20_MS)
    call = world.call()
    outcome = world.run(call)
    assert not outcome.ok and outcome.code is StatusCode.NOT_FOUND
    assert world.passed == pytest.approx(0.03)
    assert call.endpoint.address == "a"


def test_if_all_fail_the_last_failure_is_told():
    world = World({"a": fails(seconds=0.03), "b": fails(seconds=0.1)}, hedging=AFTER_20_MS)
    outcome = world.run()
    assert not outcome.ok and outcome.code is StatusCode.UNAVAILABLE
    assert len(world.sent) == 2


def test_there_is_no_hedge_to_the_only_instance():
    world = World({"a": ok(0.5)}, hedging=AFTER_20_MS)
    assert world.run().ok
    assert world.sent == ["a"]


def test_losing_to_a_hedge_is_a_fault_only_of_one_that_says_nothing_at_all():
    world = World({"a": ok(0.5), "b": ok(0.001)}, hedging=AFTER_20_MS)
    a = world.endpoint("a")
    assert world.run().ok
    assert a.breaker.failures == 1
    world = World({"a": ok(0.5), "b": ok(0.001)}, hedging=AFTER_20_MS)
    a = world.endpoint("a")
    a.answered = world.clock.now + 0.01
    assert world.run().ok
    assert a.breaker.failures == 0
    assert a.latency.read(world.clock.now) < 0.1


def test_the_delay_may_follow_the_95th_percentile():
    world = World({"a": ok(0.01), "b": ok(0.01)}, hedging=HedgePolicy())
    for _ in range(FEWEST):
        assert world.run().ok
    assert len(world.sent) == FEWEST
    world.servers["a"] = world.servers["b"] = ok(0.5)
    start = world.passed
    world.run()
    assert len(world.sent) == FEWEST + 2
    assert world.passed == pytest.approx(start + 0.5)


def test_a_call_may_choose_for_itself():
    world = World({"a": ok(0.5), "b": ok(0.01)})
    assert world.run(hedge=0.02).ok
    assert world.sent == ["a", "b"]
    world = World({"a": ok(0.3), "b": ok(0.01)}, hedging=AFTER_20_MS)
    assert world.run(hedge=False).ok
    assert world.sent == ["a"]
    world = World({"a": ok(0.3), "b": ok(0.01)})
    call = world.call(CHARGE, hedge=0.02)
    assert world.run(call).ok
    assert "not hedged" in call.notes[0]


def test_an_attempt_made_for_a_repeated_one_is_not_hedged():
    world = World({"a": ok(0.5), "b": ok(0.01)}, hedging=AFTER_20_MS)
    call = world.call()
    call.alone = True
    assert world.run(call).ok
    assert world.sent == ["a"]


def test_a_percentile_is_that_of_the_latest():
    percentile = Percentile(0.95)
    for value in range(FEWEST - 1):
        percentile.observe(value)
    assert percentile.value is None
    percentile.observe(FEWEST - 1)
    assert percentile.value == int(0.95 * FEWEST)
    for value in range(10_000, 10_000 + WINDOW):
        percentile.observe(value)
    assert percentile.value == 10_000 + int(0.95 * WINDOW)


def test_a_hedged_call_that_is_refused_is_looked_for_again_with_back_off():
    world = World({}, hedging=AFTER_20_MS)
    outcome = world.run()
    assert not outcome.ok and outcome.refusal is not None
    assert world.runner.slept and min(world.runner.slept) > 0.01
