import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.balancer.support import World, endpoint, endpoints, policy

AT_ONCE = {"blackoutPeriod": "0s"}


def weigh(world, weights):
    """Report that each endpoint can do so many requests a second."""
    for one, weight in weights.items():
        world.report(one, rate=weight, utilization=1.0)


@pytest.mark.parametrize("kind", [tuple, list])
def test_each_is_picked_as_often_as_its_weight_says(kind):
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b, c = candidates = endpoints("abc")
    weigh(world, {a: 100.0, b: 200.0, c: 700.0})
    counts = world.counts(kind(candidates), 10_000)
    assert [counts[name] / 10_000 for name in "abc"] == pytest.approx([0.1, 0.2, 0.7], abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1.0, 10.0), min_size=2, max_size=8), st.integers(0, 99))
def test_turns_are_spread_evenly(weights, seed):
    """In any number of picks each has what is its due, give or take a turn or two."""
    world = World(policy("weighted_round_robin", **AT_ONCE), seed=seed)
    candidates = endpoints([str(n) for n in range(len(weights))])
    weigh(world, dict(zip(candidates, weights, strict=True)))
    counts = world.counts(candidates, 500)
    for one, weight in zip(candidates, weights, strict=True):
        assert counts[one.address] == pytest.approx(500 * weight / sum(weights), abs=2.0)


def test_few_picks_between_two_updates_still_follow_the_weights():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b = candidates = endpoints("ab")
    picked = []
    for _ in range(1000):
        weigh(world, {a: 10.0, b: 90.0})
        picked.append(world.pick(candidates))
        world.clock.advance(2.0)
    assert picked.count(a) == pytest.approx(100, abs=2)


def test_errors_make_an_endpoint_lighter():
    world = World(policy("weighted_round_robin", errorUtilizationPenalty=2, **AT_ONCE))
    a, b = candidates = endpoints("ab")
    world.report(a, rate=100.0, utilization=0.5, errors=25.0)  # 100 / (0.5 + 0.25 * 2)
    world.report(b, rate=100.0, utilization=0.5)
    counts = world.counts(candidates, 3000)
    assert counts["b"] / counts["a"] == pytest.approx(2.0, rel=0.02)


def test_who_has_no_weight_has_the_mean():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b, _ = candidates = endpoints("abc")
    weigh(world, {a: 1.0, b: 3.0})
    counts = world.counts(candidates, 6000)
    assert [counts[n] for n in "abc"] == pytest.approx([1000, 3000, 2000], abs=3)


def test_with_one_weight_it_is_round_robin():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, *_ = candidates = endpoints("abc")
    weigh(world, {a: 50.0})
    counts = world.counts(candidates, 300)
    assert set(counts.values()) == {100}


def test_without_reports_the_registrys_weights_count():
    world = World(policy("weighted_round_robin"))
    counts = world.counts((endpoint("a"), endpoint("b", weight=3)), 4000)
    assert counts["b"] == pytest.approx(3000, abs=2)


def test_a_weight_counts_after_the_blackout_and_until_it_expires():
    world = World(policy("weighted_round_robin", weightExpirationPeriod="30s"))
    a, b = candidates = endpoints("ab")

    def part() -> float:
        world.clock.advance(1.0)  # the next update
        return world.counts(candidates, 1000)["b"] / 1000

    weigh(world, {a: 1.0, b: 9.0})
    world.clock.advance(5.0)
    assert part() == pytest.approx(0.5, abs=0.01)
    world.clock.advance(5.0)
    assert part() == pytest.approx(0.9, abs=0.01)
    world.clock.advance(30.0)
    assert part() == pytest.approx(0.5, abs=0.01)
    weigh(world, {a: 1.0, b: 9.0})
    assert part() == pytest.approx(0.5, abs=0.01)  # after a silence it begins anew


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("utilization", [0.0, -1.0, math.inf, math.nan, 0.5])
def test_a_report_that_makes_no_sense_is_none(rate, utilization):
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b = candidates = endpoints("ab")
    weigh(world, {b: 1.0})
    world.report(a, rate=rate, utilization=utilization)
    assert world.counts(candidates, 100) == {"a": 50, "b": 50}


def test_one_report_can_neither_take_everything_nor_starve():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    candidates = endpoints([str(n) for n in range(20)])
    weigh(world, dict.fromkeys(candidates, 1.0) | {candidates[0]: 1e12, candidates[1]: 1e-12})
    counts = world.counts(candidates, 100_000)
    assert counts["0"] < 100_000 and counts["1"] > 0


def test_who_warms_up_takes_a_part_of_its_weight():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b = candidates = endpoints("ab")
    weigh(world, {a: 10.0, b: 10.0})
    b.share = b.fair_share / 0.25
    counts = world.counts(candidates, 1000)
    assert counts == {"a": 800, "b": 200}
    b.share = b.fair_share
    world.clock.advance(1.0)
    assert world.counts(candidates, 1000)["b"] == pytest.approx(500, abs=2)


def test_selections_alone_follow_the_weights_too_and_learn_of_newcomers():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b, c = endpoints("abc")
    weigh(world, {a: 1.0, b: 3.0, c: 6.0})
    assert world.counts([a, b], 4000)["b"] == pytest.approx(3000, abs=100)
    assert world.counts([b, c], 3000)["c"] == pytest.approx(2000, abs=100)
    weigh(world, {b: 6.0})
    world.clock.advance(1.0)
    assert world.counts([b, c], 3000)["c"] == pytest.approx(1500, abs=100)
    assert world.counts((a, b, c), 1300)["a"] == pytest.approx(100, abs=2)


def test_new_weights_reach_the_turns_though_a_selection_saw_them_first():
    world = World(policy("weighted_round_robin", **AT_ONCE))
    a, b = candidates = endpoints("ab")
    weigh(world, {a: 1.0, b: 1.0})
    world.pick(candidates)
    weigh(world, {a: 1.0, b: 9.0})
    world.clock.advance(1.0)
    world.pick(list(candidates))
    assert world.counts(candidates, 1000)["b"] == pytest.approx(900, abs=2)


@pytest.mark.parametrize(
    "lie", [{"rate": 1e8, "utilization": 1e-300}, {"rate": 9e8, "utilization": 1e-6}]
)
def test_one_that_lies_gets_ten_times_what_others_get_and_no_call_fails(lie):
    world = World(policy("weighted_round_robin", **AT_ONCE))
    liar, *honest = candidates = endpoints([str(n) for n in range(20)])
    for _ in range(5):
        weigh(world, dict.fromkeys(honest, 100.0))
        world.report(liar, **lie)
        counts = world.counts(candidates, 2900)
        assert counts[liar.address] <= 1050
        assert all(counts[one.address] > 50 for one in honest)
        world.clock.advance(1.0)
