from dataclasses import replace

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.balancer.latency import PeakEwma
from seawall.balancer.least_loaded import LeastLoaded
from seawall.balancer.round_robin import RoundRobin
from seawall.call import Listing
from seawall.errors import NoEndpoints
from seawall.policy.candidates import CONNECT_TIMEOUT, FIRST_LIST_TIMEOUT
from seawall.policy.retry import NEVER
from seawall.testing.clock import FakeClock
from seawall.testing.plans import instance
from tests.policy.support import READ, World, fails, listing, ok


def test_statistics_of_endpoints_that_stay_are_kept():
    world = World({"a": ok(), "b": ok()})
    kept = world.endpoint("a")
    kept.outstanding = 7
    turnover = world.group.apply(listing("a", "c"))
    assert [e.address for e in turnover.added] == ["c"]
    assert [e.address for e in turnover.removed] == ["b"]
    assert world.endpoint("a") is kept and kept.outstanding == 7


def test_an_instance_that_is_not_connected_is_not_picked():
    world = World({"a": ok(), "b": ok()})
    world.group.set_ready(world.endpoint("a"), False)
    for _ in range(5):
        world.run()
    assert set(world.sent) == {"b"}


def test_the_least_loaded_is_picked_and_slow_ones_lose_ties():
    world = World({"a": ok(), "b": ok(), "c": ok()})
    world.endpoint("a").outstanding = 2
    world.endpoint("b").outstanding = 1
    world.run()
    assert world.sent == ["c"]
    world.endpoint("c").outstanding = 1
    world.endpoint("b").latency.observe(0.5, world.clock())
    world.run()
    assert world.sent == ["c", "c"]


def test_an_endpoint_that_fails_fast_does_not_look_fast():
    world = World({"a": fails(StatusCode.INTERNAL, 0.0001), "b": ok(0.05)}, NEVER)
    for _ in range(50):
        world.run()
    assert world.sent.count("a") <= 2


def test_callers_errors_do_not_make_an_endpoint_look_slow():
    world = World({"a": fails(StatusCode.NOT_FOUND, 0.002)})
    world.run()
    assert world.endpoint("a").latency.read(world.clock()) < 0.01


def test_peak_ewma_rises_at_once_and_falls_with_time():
    clock, latency = FakeClock(), PeakEwma()
    latency.observe(0.1, clock())
    latency.observe(1.0, clock())
    assert latency.read(clock()) == pytest.approx(1.0)
    clock.advance(1.0)
    assert latency.read(clock()) == pytest.approx(0.3679, abs=1e-3)
    latency.observe(0.1, clock())
    assert 0.1 < latency.read(clock()) < 0.5


@given(
    st.lists(st.tuples(st.floats(1e-4, 10), st.floats(0, 5)), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(1e-4, 10), st.floats(0, 5)), min_size=1, max_size=6),
    st.floats(0, 3),
)
def test_the_rank_orders_as_the_estimate_does(seen_by_a, seen_by_b, later):
    clock, pair = FakeClock(), (PeakEwma(), PeakEwma())
    for latency, seen in zip(pair, (seen_by_a, seen_by_b), strict=True):
        now = clock()
        for value, pause in seen:
            now += pause
            latency.observe(value, now)
    clock.advance(40.0 + later)
    a, b = (latency.read(clock()) for latency in pair)
    if abs(a - b) > 1e-9 * max(a, b):
        assert (a < b) == (pair[0].rank < pair[1].rank)


def test_round_robin_takes_each_in_turn():
    world = World({"a": ok(), "b": ok(), "c": ok()})
    picker = RoundRobin(lambda: 0.0)
    picks = [picker.pick(world.group.ready, world.call()).address for _ in range(6)]
    assert sorted(picks[:3]) == ["a", "b", "c"] and picks[:3] == picks[3:]


def test_least_loaded_spreads_over_equals():
    world = World({"a": ok(), "b": ok(), "c": ok()})
    draws = iter([n / 100 for n in range(100)] * 10)
    picker = LeastLoaded(lambda: next(draws), lambda: 0.0)
    picks = [picker.pick(world.group.ready, world.call()).address for _ in range(99)]
    assert min(picks.count(name) for name in "abc") > 10


def test_nobody_serves():
    world = World({}, NEVER)
    world.group.apply(listing())
    outcome = world.run()
    assert outcome.refusal is NoEndpoints and outcome.code is StatusCode.UNAVAILABLE
    assert "nobody serves shop.v1.Inventory" in outcome.details
    assert world.clock() == 1000.0


def test_none_connected_says_which_and_why():
    world = World({"a": ok()}, NEVER)
    world.endpoint("a").problem = "can't connect"
    world.group.set_ready(world.endpoint("a"), False)
    outcome = world.run()
    assert outcome.refusal is NoEndpoints
    assert "a (can't connect)" in outcome.details


def test_a_first_list_is_waited_for():
    world = World({"a": ok()}, NEVER)
    world.group.resolved, world.group.ready = False, ()
    endpoint = world.endpoint("a")
    endpoint.ready = False
    world.runner.on_await = lambda: world.group.set_ready(endpoint, True)
    assert world.run().ok


def test_a_registry_that_does_not_answer_is_waited_for_and_named():
    world = World({}, NEVER)
    world.group.resolved = False
    world.group.problem = "etcd at 10.0.0.9:2379 does not answer"
    outcome = world.run(timeout=None)
    assert outcome.refusal is NoEndpoints
    assert "etcd at 10.0.0.9:2379 does not answer" in outcome.details
    assert world.clock() - 1000.0 <= FIRST_LIST_TIMEOUT


def test_instances_that_are_being_connected_are_waited_for_and_not_for_ever():
    world = World({"a": ok()}, NEVER)
    world.group.ready = ()
    world.endpoint("a").ready = world.endpoint("a").settled = False
    outcome = world.run(timeout=None)
    assert outcome.refusal is NoEndpoints
    assert world.clock() - 1000.0 == pytest.approx(CONNECT_TIMEOUT)


def test_waiting_ends_with_the_deadline():
    world = World({}, NEVER)
    world.group.resolved = False
    outcome = world.run(timeout=0.5)
    assert outcome.code is StatusCode.DEADLINE_EXCEEDED and outcome.refusal is NoEndpoints
    assert world.clock() == pytest.approx(1000.5)


def test_wait_for_ready_waits_where_others_are_refused():
    world = World({}, NEVER)
    call = world.call(READ, timeout=3.0)
    call.wait_for_ready = True

    def appear():
        world.clock.advance(1.0)
        world.servers["a"] = ok()
        world.group.apply(listing("a"))
        world.group.set_ready(world.endpoint("a"), True)

    world.runner.on_await = appear
    assert world.run(call).ok


def test_of_two_instances_at_one_address_the_newer_is_meant():
    world = World({"a": ok()})
    old = replace(instance("a"), id="old", metadata={"started_at": 1.0})
    new = replace(instance("a"), id="new", metadata={"started_at": 2.0})
    for listed in ((old, new), (new, old)):
        world.group.apply(Listing(listed))
        assert [e.instance.id for e in world.group.endpoints] == ["new"]
