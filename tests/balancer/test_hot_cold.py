import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seawall.balancer.hot_cold as module
from seawall.balancer.hot_cold import AGE, HotCold, HotColdPolicy
from tests.balancer.support import World, call, endpoints, policy


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(module, "EXPLORE", 0.0)
    return World(policy("hot_cold"))


def cold(world, *others, latency=0.01):
    """So many reports of three in flight that three is not hot."""
    for one in others:
        world.report(one, in_flight=3.0, latency=latency)


def test_the_fastest_of_the_cold_is_picked(world):
    a, b, c = candidates = endpoints("abc")
    cold(world, a, b, c)
    world.report(b, in_flight=3.0, latency=0.002)
    assert world.pick(candidates) is b


def test_the_hot_are_left_alone_however_fast(world):
    a, b, c = candidates = endpoints("abc")
    for _ in range(10):
        cold(world, a, b, c)
    world.report(b, in_flight=50.0, latency=0.001)
    assert {world.pick(candidates), world.pick(candidates)} <= {a, c}


def test_if_all_are_hot_the_one_with_the_fewest_in_flight_is_picked(world):
    a, b, c = candidates = endpoints("abc")
    for _ in range(20):
        cold(world, a, b, c)
    for one, in_flight in ((a, 30.0), (b, 20.0), (c, 40.0)):
        world.report(one, in_flight=in_flight, latency=0.001 * in_flight)
    assert world.balancer._recent.hot == 3.0
    assert world.pick(candidates) is b


def test_what_this_client_has_sent_since_counts(world):
    a, b = candidates = endpoints("ab")
    for _ in range(20):
        cold(world, a, b)
    world.report(a, in_flight=3.0, latency=0.001)
    a.outstanding += 5
    assert world.pick(candidates) is b


def test_what_was_its_own_is_not_counted_twice(world):
    a, b = candidates = endpoints("ab")
    a.outstanding = b.outstanding = 4
    for _ in range(20):
        cold(world, a, b)
    world.report(a, in_flight=4.0, latency=0.001)
    a.outstanding = 0
    assert world.balancer._pool[a][1] == 0.0
    assert world.pick(candidates) is a


def test_a_report_is_used_once(world):
    a, b, _ = candidates = endpoints("abc")
    cold(world, a, b, candidates[2])
    world.report(a, in_flight=1.0, latency=0.001)
    assert world.pick(candidates) is a
    assert a not in world.balancer._pool


def test_with_fewer_than_two_usable_it_is_least_loaded(world):
    a, b, c = candidates = endpoints("abc")
    a.outstanding = b.outstanding = 1
    world.report(a, in_flight=0.0, latency=0.001)
    assert world.pick(candidates) is c
    world.report(b, in_flight=0.0, latency=0.001)
    assert world.pick((b, c)) is c  # a is none of the candidates
    assert world.pick(candidates) in (a, b)


def test_an_old_report_says_nothing(world):
    a, b, c = candidates = endpoints("abc")
    a.outstanding = b.outstanding = 1
    cold(world, a, b)
    world.clock.advance(AGE + 0.001)
    assert world.pick(candidates) is c


def test_an_instance_that_fails_fast_does_not_look_best(world):
    """Its reports say: nothing to do, and fast. The client knows better."""
    a, b, c = candidates = endpoints("abc")
    for one in (b, c):
        one.latency.observe(0.02, world.clock())
    a.latency.observe(1.0, world.clock())  # a failure, as the balance layer counts it
    cold(world, b, c, latency=0.02)
    world.report(a, in_flight=0.0, latency=0.001)
    assert world.pick(candidates) is not a
    world.clock.advance(0.7)  # it is given another chance
    cold(world, b, c, latency=0.02)
    world.report(a, in_flight=0.0, latency=0.001)
    assert world.pick(candidates) is a


def test_a_service_that_is_slow_everywhere_still_goes_by_reports(world):
    a, b = candidates = endpoints("ab")
    for one in candidates:
        one.latency.observe(3.0, world.clock())
    a.outstanding = 1  # by which least_loaded would take the other
    cold(world, a, b, latency=3.0)
    world.report(a, in_flight=1.0, latency=2.0)
    assert world.pick(candidates) is a


def test_a_report_that_makes_no_sense_is_not_kept(world):
    (a,) = endpoints("a")
    for nonsense in (None, -1.0, float("nan"), float("inf")):
        world.report(a, in_flight=nonsense, latency=0.01)
    assert not world.balancer._pool


def test_a_latency_that_is_missing_is_the_clients_own(world):
    a, b = candidates = endpoints("ab")
    a.latency.observe(0.004, world.clock())
    b.latency.observe(0.2, world.clock())
    world.report(a, in_flight=1.0)
    world.report(b, in_flight=1.0, latency=float("nan"))
    assert world.pick(candidates) is a


def test_some_picks_go_elsewhere_so_that_all_are_heard_of():
    world = World(policy("hot_cold"))
    a, b, *others = candidates = endpoints("abcdefgh")
    heard = set()
    for _ in range(400):
        picked = world.pick(candidates)
        heard.add(picked)
        world.report(picked, in_flight=1.0, latency=0.001 if picked in (a, b) else 0.1)
        world.clock.advance(0.01)
    assert heard >= set(others)


def test_the_pool_is_bounded_and_drops_the_oldest():
    world = World(HotColdPolicy(pool=3))
    for one in (many := endpoints("abcdef")):
        world.report(one, in_flight=1.0, latency=0.01)
    assert list(world.balancer._pool) == list(many[3:])


def test_the_quantile_is_of_the_recent_reports():
    recent = HotCold(lambda: 0.0, lambda: 0.0)._recent
    for number in range(1000):
        recent.add(float(number))
    assert recent.hot == 872 + int(0.84 * 127)
    assert len(recent._ordered) == 128


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.one_of(st.none(), st.floats(0, 100)),
            st.floats(0, 2),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.integers(0, 100),
)
def test_no_report_is_used_twice_nor_later_than_a_second(steps, seed):
    """Every pick that is not ``least_loaded``'s takes one fresh report away."""
    world = World(policy("hot_cold"), seed=seed)
    balancer, candidates = world.balancer, endpoints("abcdef")
    fallback = balancer._fallback = Counted(balancer._fallback)
    stamps = {}
    for number, in_flight, pause, picks in steps:
        one = candidates[number]
        if in_flight is not None:
            world.report(one, in_flight=in_flight, latency=0.01)
            stamps[one] = world.clock()
        world.clock.advance(pause)
        if picks:
            before = fallback.picks
            picked = balancer.pick(candidates, call())
            if fallback.picks == before:
                assert world.clock() - stamps.pop(picked) <= AGE


class Counted:
    def __init__(self, inner):
        self.inner, self.picks = inner, 0

    def pick(self, candidates, call):
        self.picks += 1
        return self.inner.pick(candidates, call)
