"""Outlier detection as in gRFC A50: who is ejected, for how long, and how many at most."""

from itertools import count
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.events import EndpointEjected, EndpointReturned
from seawall.policy.classify import Verdict
from seawall.policy.outlier import (
    FailurePercentageEjection,
    OutlierPolicy,
    Outliers,
    SuccessRateEjection,
)
from tests.heard import Heard
from tests.policy.support import World, listing, ok

OK, FAULT = Verdict.SUCCESS, Verdict.FAULT
PERCENTAGE = OutlierPolicy(failure_percentage=FailurePercentageEjection())
RATE = OutlierPolicy(success_rate=SuccessRateEjection())
HALF = OutlierPolicy(
    max_ejection_percent=100,
    failure_percentage=FailurePercentageEjection(minimum_hosts=1, request_volume=1),
)


class Watched:
    """``number`` endpoints under outlier detection; ``chances`` are the random numbers."""

    def __init__(self, number: int, policy: OutlierPolicy = PERCENTAGE, chances=None) -> None:
        self.addresses = [f"10.0.0.{n}:1" for n in range(number)]
        world = World({address: ok() for address in self.addresses})
        self.clock, self.group, self.heard = world.clock, world.group, Heard()
        draw = (lambda: 0.5) if chances is None else iter(chances).__next__
        self.outliers = Outliers(policy, self.group, self.clock, draw, self.heard)

    @property
    def endpoints(self):
        return [e for a in self.addresses for e in self.group.endpoints if e.address == a]

    def calls(self, *bad: int, of: int = 100) -> None:
        """An interval in which ``bad[n]`` of the n-th endpoint's calls fail, none of the rest's."""
        for endpoint, failed in zip(self.endpoints, [*bad, *[0] * 99], strict=False):
            for number in range(of):
                verdict = FAULT if number < failed else OK
                self.outliers.observe(endpoint, verdict, self.clock())
        self.pass_interval()

    def pass_interval(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(self.outliers._policy.interval)
            self.outliers.sweep(self.clock())

    @property
    def ejected(self) -> list[int]:
        found = [n for n, endpoint in enumerate(self.endpoints) if endpoint.ejected]
        tripped = {e for e in self.group.tripped if e.ejected}
        assert {self.endpoints[n] for n in found} == tripped
        return found


def test_one_that_fails_more_than_the_threshold_is_ejected_and_told():
    watched = Watched(5)
    watched.calls(86)
    assert watched.ejected == [0]
    (event,) = watched.heard.events
    assert event == EndpointEjected(
        "shop.v1.Inventory", "10.0.0.0:1", "86 of 100 calls failed, more than 85 %", 30.0
    )


def test_the_threshold_itself_is_not_more():
    watched = Watched(5)
    watched.calls(85)
    assert watched.ejected == []


def test_too_few_instances_or_calls_judge_nobody():
    few = Watched(4)
    few.calls(100)
    assert few.ejected == []
    idle = Watched(5)
    idle.calls(49, of=49)
    assert idle.ejected == []
    idle.calls(50, of=50)
    assert idle.ejected == [0]


def test_only_instances_with_enough_calls_count_as_hosts():
    watched = Watched(5)
    for _ in range(49):
        watched.outliers.observe(watched.endpoints[4], OK, watched.clock())
    for endpoint in watched.endpoints[:4]:
        for _ in range(50):
            watched.outliers.observe(endpoint, FAULT, watched.clock())
    watched.pass_interval()
    assert watched.ejected == []


def test_one_whose_success_rate_is_far_below_the_others_is_ejected():
    watched = Watched(10, RATE)
    bad = [0, 30, *[2] * 8]
    watched.calls(*bad)
    assert watched.ejected == [1]
    rates = [1 - b / 100 for b in bad]
    mean = sum(rates) / 10
    limit = mean - 1.9 * sqrt(sum((r - mean) ** 2 for r in rates) / 10)
    (event,) = watched.heard.events
    assert f"70.0% of 100 calls succeeded; of 10 instances {mean:.1%} on average" in event.reason
    assert f"below {limit:.1%}" in event.reason


def test_within_the_factor_nobody_is_an_outlier():
    watched = Watched(10, OutlierPolicy(success_rate=SuccessRateEjection(stdev_factor=3000)))
    watched.calls(30)  # with ten instances one can't be 3 standard deviations below the mean
    assert watched.ejected == []


@settings(max_examples=30)
@given(st.integers(5, 40), st.integers(100, 160), st.integers(0, 100))
def test_of_equals_none_is_an_outlier(number, volume, bad):
    # A factor of 0 is the strictest: the mean itself, which rounding may put above its numbers.
    watched = Watched(number, OutlierPolicy(success_rate=SuccessRateEjection(stdev_factor=0)))
    watched.calls(*[bad] * number, of=volume)
    assert watched.ejected == []


def test_when_all_fail_alike_at_most_the_share_is_ejected():
    watched = Watched(20)
    watched.calls(*[100] * 20)
    assert len(watched.ejected) == 2
    watched.pass_interval()
    assert len(watched.ejected) == 2


@pytest.mark.parametrize(
    ("number", "percent", "most"),
    [(5, 10, 1), (15, 10, 2), (20, 10, 2), (10, 100, 5), (3, 100, 1), (2, 100, 1), (1, 100, 0),
     (2, 10, 1), (5, 0, 0)],
)  # fmt: skip
def test_how_many_are_ejected_at_most(number, percent, most):
    rule = FailurePercentageEjection(minimum_hosts=1, request_volume=1)
    watched = Watched(number, OutlierPolicy(max_ejection_percent=percent, failure_percentage=rule))
    for _ in range(3):
        watched.calls(*[100] * number)
    assert len(watched.ejected) == most


def test_the_worst_go_first():
    watched = Watched(10)
    watched.calls(90, 87, 99)
    assert watched.ejected == [2]


def test_only_connected_ones_are_ejected_and_counted():
    watched = Watched(4, HALF)
    for endpoint in watched.endpoints[1:3]:
        watched.group.set_ready(endpoint, False)
    watched.calls(100, 100)
    assert watched.ejected == [0]
    watched = Watched(4, HALF)
    for endpoint in watched.endpoints[1:]:
        watched.group.set_ready(endpoint, False)
    watched.calls(100, 100)
    assert watched.ejected == []


def test_enforcement_is_by_chance():
    rule = FailurePercentageEjection(enforcement_percentage=30)
    watched = Watched(20, OutlierPolicy(failure_percentage=rule), [0.3, 0.29, 0.9])
    watched.calls(90, 91, 92)
    assert watched.ejected == [1]


def test_nothing_but_faults_counts_against_an_instance():
    for verdict in Verdict:
        watched = Watched(5)
        for endpoint in watched.endpoints:
            for _ in range(100):
                first = endpoint is watched.endpoints[0]
                watched.outliers.observe(endpoint, verdict if first else OK, watched.clock())
        watched.pass_interval()
        assert watched.ejected == ([0] if verdict is FAULT else [])


def test_what_tells_nothing_does_not_count_as_a_call():
    silent = (Verdict.CANCELLED, Verdict.UNTOLD, Verdict.ABSENT, Verdict.REFUSED)
    watched = Watched(5)
    (first, *_) = watched.endpoints
    for verdict in silent * 50:
        watched.outliers.observe(first, verdict, watched.clock())
    assert first.tally.volume == 0


def test_an_ejection_ends_after_its_time_and_the_next_lasts_longer():
    watched = Watched(5)
    watched.calls(100)
    watched.pass_interval(2)
    assert watched.ejected == [0]
    watched.pass_interval()
    assert watched.ejected == []
    assert watched.heard.events[-1] == EndpointReturned("shop.v1.Inventory", "10.0.0.0:1")
    watched.calls(100)
    assert watched.heard.events[-1].duration == 60.0
    watched.pass_interval(5)
    assert watched.ejected == [0]
    watched.pass_interval()
    assert watched.ejected == []


def test_each_interval_without_ejection_makes_up_for_one():
    watched = Watched(5)
    for _ in range(2):
        watched.calls(100)
        while watched.ejected:
            watched.pass_interval()
    watched.calls()
    watched.calls(100)
    assert watched.heard.of(EndpointEjected)[-1].duration == 60.0


def test_no_ejection_lasts_longer_than_the_most():
    watched = Watched(5)
    for _ in range(15):
        watched.calls(100)
        while watched.ejected:
            watched.pass_interval()
    assert [e.duration for e in watched.heard.of(EndpointEjected)][9:] == [300.0] * 6
    rule = FailurePercentageEjection()
    longer = Watched(5, OutlierPolicy(base_ejection_time=400.0, failure_percentage=rule))
    longer.calls(100)
    assert longer.heard.events[-1].duration == 400.0


def test_counts_from_before_a_silence_are_not_judged():
    watched = Watched(5)
    for endpoint in watched.endpoints:
        for _ in range(100):
            watched.outliers.observe(endpoint, FAULT, watched.clock())
    watched.clock.advance(25.0)
    watched.outliers.observe(watched.endpoints[0], OK, watched.clock())
    watched.pass_interval()
    assert watched.ejected == []


@given(st.floats(0.0, 300.0))
def test_after_a_silence_all_is_as_if_a_timer_had_run(silence):
    timed, lazy = Watched(5), Watched(5)
    for watched in (timed, lazy):
        watched.calls(100)
        watched.pass_interval(3)
        watched.calls(100)  # multiplier 2, for 60 s
    for watched in (timed, lazy):
        end = watched.clock() + silence
        while watched is timed and watched.clock() + 10.0 <= end:
            watched.pass_interval()
        watched.clock.now = end
        watched.outliers.sweep(end)
    # What is due between two sweeps is seen by the lazy one as soon as it looks.
    assert set(lazy.ejected) <= set(timed.ejected)
    seen = timed.endpoints[0].tally.multiplier, lazy.endpoints[0].tally.multiplier
    assert abs(seen[0] - seen[1]) <= 1


def test_an_endpoint_that_left_is_forgotten_and_a_new_one_begins_anew():
    watched = Watched(5)
    watched.calls(100)
    gone = watched.endpoints[0]
    watched.group.apply(listing(*watched.addresses[1:]))
    assert not watched.group.tripped
    watched.outliers.observe(gone, FAULT, watched.clock())
    watched.pass_interval()
    watched.group.apply(listing(*watched.addresses))
    assert watched.endpoints[0] is not gone and watched.endpoints[0].tally is None
    assert watched.ejected == []


def test_a_policy_without_a_rule_judges_nobody():
    watched = Watched(5, OutlierPolicy())
    watched.calls(100)
    assert watched.ejected == [] and watched.heard.events == []


@settings(max_examples=40)
@given(
    st.integers(1, 25),
    st.integers(0, 100),
    st.lists(st.lists(st.integers(0, 10), min_size=25, max_size=25), max_size=8),
    st.randoms(use_true_random=False),
)
def test_never_more_than_the_caps_and_all_come_back(number, percent, intervals, random):
    rules = FailurePercentageEjection(50, 80, 1, 1), SuccessRateEjection(500, 80, 2, 1)
    watched = Watched(
        number,
        OutlierPolicy(
            max_ejection_percent=percent, failure_percentage=rules[0], success_rate=rules[1]
        ),
        (random.random() for _ in count()),
    )
    for bad in intervals:
        before = len(watched.ejected)
        watched.calls(*bad, of=10)
        after = len(watched.ejected)
        assert 2 * after <= number
        assert after <= before or after - 1 < percent / 100 * number
    watched.clock.advance(310.0)
    watched.outliers.sweep(watched.clock())
    assert watched.ejected == [] and not watched.group.tripped


def test_when_its_rules_are_replaced_all_come_back_and_it_judges_no_more():
    watched = Watched(5, HALF)
    watched.calls(100, of=100)
    assert watched.ejected == [0]
    watched.outliers.end()
    assert watched.ejected == [] and len(watched.heard.of(EndpointReturned)) == 1
    watched.calls(100, of=100)  # of calls that had begun before
    assert watched.ejected == []
