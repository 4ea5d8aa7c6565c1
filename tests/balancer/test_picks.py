"""What holds for every balancer."""

import gc
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.balancer import Balancer
from seawall.balancer.latency import PeakEwma
from seawall.balancer.least_loaded import LeastLoaded
from seawall.balancer.round_robin import ByChance
from seawall.call import Endpoint
from tests.balancer.support import World, call, endpoint, endpoints, policy

POLICIES = [
    policy("hot_cold"),
    policy("least_loaded"),
    policy("least_request_experimental", choiceCount=3),
    policy("random"),
    policy("ring_hash_experimental", requestHashHeader="x-user"),
    policy("ring_hash_experimental", boundedLoadFactor=None, minRingSize=1, maxRingSize=8),
    policy("round_robin"),
    policy("weighted_round_robin", blackoutPeriod="0s", weightUpdatePeriod="0.5s"),
    policy("locality", childPolicy=[{"hot_cold": {}}]),
    policy("split", weights={"1": 9, "2": 1, "3": 0}, header="x-version"),
    policy(
        "split",
        weights={"1": 9, "2": 1},
        childPolicy=[{"locality": {"childPolicy": [{"ring_hash_experimental": {}}]}}],
    ),
]
each = pytest.mark.parametrize("given_policy", POLICIES, ids=lambda p: p.name)

FACTS = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from(["a", "b", ""]),
        "version": st.sampled_from(["1", "2", "3", "4", 1]),
        "weight": st.sampled_from([1, 2, 0.5, 1e6, 1e-6, "heavy"]),
    },
)
NUMBERS = st.sampled_from([0.0, 0.5, 3.0, 1e6, -1.0, math.inf, math.nan])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["snapshot", "again", "selection"]),
        st.sets(st.integers(0, 7), min_size=1),
        st.sampled_from([None, "user-1", 7, b"\xff"]),
        st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
        st.sampled_from([0.0, 0.3, 2.0]),
    ),
    max_size=25,
)


@each
@settings(max_examples=60, deadline=None)
@given(facts=st.lists(FACTS, min_size=8, max_size=8), steps=STEPS, seed=st.integers(0, 1000))
def test_every_pick_is_one_of_the_candidates(given_policy, facts, steps, seed):
    world = World(given_policy, "a", seed)
    known = [endpoint(str(number), **each) for number, each in enumerate(facts)]
    snapshot = tuple(known)
    for kind, chosen, key, (in_flight, latency, rate, utilization), pause in steps:
        if kind == "snapshot":
            snapshot = tuple(known[number] for number in sorted(chosen))
        some = [known[number] for number in sorted(chosen)]
        candidates = some if kind == "selection" else snapshot
        made = call(key, (("x-user", "u"), ("x-version", "2"), ("x-user", b"v")))
        picked = world.begin(candidates, made)
        assert any(picked is one for one in candidates)
        world.report(
            picked, in_flight=in_flight, latency=latency, rate=rate, utilization=utilization
        )
        world.clock.advance(pause)


@each
def test_nothing_is_kept_of_endpoints_that_are_gone(given_policy):
    world = World(given_policy, "a")
    current: list[Endpoint] = []
    for number in range(400):
        version = str(number // 3)
        current = [*current, endpoint(f"gone-{number}", zone="ab"[number % 2], version=version)]
        current = current[-4:]
        for made in (call(), call("key")):
            picked = world.pick(tuple(current), made)
            world.report(picked, in_flight=1.0, latency=0.01, rate=10.0, utilization=0.5)
        world.pick(current[:2])
        world.clock.advance(0.01)
    gc.collect()
    left = [e for e in gc.get_objects() if isinstance(e, Endpoint) and "gone-" in e.address]
    assert len(left) <= 40  # of 400: a pool of 16 for each of two zones, and a last snapshot
    children = getattr(world.balancer, "_children", {})
    assert len(children) <= 4


@each
def test_a_single_candidate_is_picked(given_policy):
    world = World(given_policy, "a")
    for candidates in (endpoints("x"), list(endpoints("y"))):
        assert world.pick(candidates) is candidates[0]


def test_chance_follows_the_weights():
    world = World(policy("random"))
    counts = world.counts((endpoint("a"), endpoint("b", weight=3)), 4000)
    assert counts["b"] / counts["a"] == pytest.approx(3.0, rel=0.1)


def test_least_request_takes_the_fewer_of_those_drawn():
    world = World(policy("least_request_experimental", choiceCount=10))
    a, b = candidates = endpoints("ab")
    a.outstanding = 5
    assert world.counts(candidates, 200)["b"] > 190
    b.outstanding = 1
    b.share = b.fair_share = 10.0
    assert world.counts(candidates, 200)["a"] > 190


def test_least_request_with_two_choices_is_not_a_scan():
    world = World(policy("least_request_experimental"))
    candidates = endpoints("abcd")
    for one in candidates[1:]:
        one.outstanding = 1
    part = world.counts(candidates, 4000)["a"] / 4000
    assert part == pytest.approx(1 - (3 / 4) ** 2, rel=0.1)


def test_a_balancer_of_the_users_own_needs_only_pick():
    class First(Balancer):
        def pick(self, candidates, call):
            return candidates[0]

    mine, (a, _) = First(), endpoints("ab")
    assert mine.pick((a,), call()) is a
    assert mine.reports_from is None
    assert mine.report(a, None, 0.0) is None


def test_chance_that_rounds_up_still_picks():
    candidates = endpoints("abc")
    assert ByChance(lambda: 1.0).pick(candidates, call()) is candidates[-1]


class TestFarSlower:
    """An idle instance that takes far longer than others only keeps a call waiting."""

    def endpoints(self, slow_latency):
        found = [endpoint(f"10.0.0.{n}:80") for n in range(4)]
        for one in found:
            one.latency.observe(0.005, 100.0)
            one.outstanding, one.answered = 2, 99.999
        found[0].latency = PeakEwma()
        found[0].latency.observe(slow_latency, 100.0)
        found[0].outstanding = 0
        return found

    def test_it_is_left_alone_while_others_are_not_much_busier(self):
        found = self.endpoints(slow_latency=0.1)
        picker = LeastLoaded(Random(1).random, lambda: 100.0)
        assert all(picker.pick(tuple(found), call()) is not found[0] for _ in range(50))
        for one in found[1:]:
            one.outstanding = 9
        assert picker.pick(tuple(found), call()) is found[0]

    def test_a_little_slower_does_not_matter(self):
        found = self.endpoints(slow_latency=0.012)
        assert LeastLoaded(Random(1).random, lambda: 100.0).pick(tuple(found), call()) is found[0]

    def test_one_of_which_nothing_is_known_is_not_slow_and_makes_nobody_slow(self):
        found = self.endpoints(slow_latency=0.005)
        found[0].latency = PeakEwma()
        picker = LeastLoaded(Random(1).random, lambda: 100.0)
        assert picker.pick(tuple(found), call()) is found[0]
        found[0].outstanding = 3
        assert picker.pick(tuple(found), call()) is not found[0]

    def test_if_all_are_as_slow_none_is(self):
        found = self.endpoints(slow_latency=0.1)
        for one in found[1:]:
            one.latency.observe(0.1, 100.0)
        assert LeastLoaded(Random(1).random, lambda: 100.0).pick(tuple(found), call()) is found[0]

    def test_one_that_is_silent_is_left_alone_before_its_calls_come_back(self):
        found = self.endpoints(slow_latency=0.005)
        found[0].outstanding, found[0].busy_since, found[0].answered = 1, 99.9, 0.0
        for one in found[1:]:
            one.answered = 99.999
        picker = LeastLoaded(Random(1).random, lambda: 100.0)
        assert all(picker.pick(tuple(found), call()) is not found[0] for _ in range(50))
        found[0].answered = 99.99
        assert picker.pick(tuple(found), call()) is found[0]

    @pytest.mark.parametrize("usual", [0.004, None])
    def test_one_that_is_silent_is_left_alone_though_it_was_the_quickest(self, usual):
        """Or though nothing is known of it yet."""
        found = self.endpoints(slow_latency=0.005)
        frozen = found[0]
        frozen.latency = PeakEwma()
        if usual is not None:
            frozen.latency.observe(usual, 100.0)
        frozen.outstanding, frozen.busy_since, frozen.answered = 1, 99.9, 0.0
        picker = LeastLoaded(Random(1).random, lambda: 100.0)
        assert all(picker.pick(tuple(found), call()) is not frozen for _ in range(50))

    def test_one_that_has_not_been_called_for_long_is_not_the_quickest(self):
        """Its estimate has decayed, and a call that probes it is under way."""
        found = self.endpoints(slow_latency=0.005)
        ill = found[0]
        ill.latency = PeakEwma()
        ill.latency.observe(1.0, 80.0)
        ill.outstanding, ill.busy_since = 1, 99.9
        for one in found[1:]:
            one.outstanding = 0
        picker = LeastLoaded(Random(1).random, lambda: 100.0)
        assert all(picker.pick(tuple(found), call()) is not ill for _ in range(50))

    def test_if_all_are_silent_the_least_loaded_is_picked(self):
        found = self.endpoints(slow_latency=0.005)
        for one in found:
            one.outstanding, one.busy_since, one.answered = 2, 99.0, 0.0
        found[2].outstanding = 1
        assert LeastLoaded(Random(1).random, lambda: 100.0).pick(tuple(found), call()) is found[2]
