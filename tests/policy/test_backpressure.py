"""Backpressure before a modelled service that takes so many calls a second of a client."""

import math
from random import Random

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Call, Method
from seawall.criticality import Criticality
from seawall.errors import Throttled
from seawall.events import ThrottlingEnded, ThrottlingStarted
from seawall.policy.backpressure import Backpressure

METHOD = Method.from_path("/shop.v1.Orders/Place")
CRITICAL, SHEDDABLE = Criticality.CRITICAL, Criticality.SHEDDABLE


def call_of(criticality: Criticality) -> Call:
    call = Call(METHOD, 0.0, None)
    call.criticality = criticality
    return call


class Service:
    """Takes ``capacity`` calls a second, with a queue of 20, and sheds the rest, whoever it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = []
        self.state = Backpressure(METHOD, self.events.append, lambda: self.now)
        self.sent = self.taken = self.critical = self.asked = 0
        self._random = Random(1)
        self._room = 0.0

    def play(self, seconds: float, rate: float, capacity: float, critical: float = 0.0) -> None:
        """``critical`` is the share of the calls that are; the others are sheddable."""
        self.sent = self.taken = self.critical = self.asked = 0
        for _ in range(round(seconds * rate)):
            self.now += 1.0 / rate
            self._room = min(self._room + capacity / rate, 20.0)
            call = call_of(CRITICAL if self._random.random() < critical else SHEDDABLE)
            self.asked += call.criticality is CRITICAL
            if self.state.wary and not self.state.admits(call, self._random.random()):
                continue
            self.sent += 1
            self.critical += call.criticality is CRITICAL
            if self._room >= 1.0:
                self._room -= 1.0
                self.taken += 1
                if self.state.wary:
                    self.state.answered()
            else:
                self.state.refused()


@pytest.mark.parametrize("times", [2, 5, 20])
def test_little_more_is_sent_than_is_taken(times):
    service = Service()
    service.play(3, 200 * times, 200)
    service.play(10, 200 * times, 200)
    assert service.taken >= 0.93 * 10 * 200
    assert service.sent <= 1.7 * service.taken


@pytest.mark.parametrize("times", [2, 5, 20])
def test_when_the_overload_ends_all_is_sent_within_two_seconds(times):
    service = Service()
    service.play(10, 200 * times, 200)
    service.play(2, 150, 200)
    service.play(5, 150, 200)
    assert service.sent == service.taken == 5 * 150
    assert not service.state.wary
    assert [type(event) for event in service.events] == [ThrottlingStarted, ThrottlingEnded]


def test_a_service_that_takes_nothing_is_still_asked():
    service = Service()
    service.play(10, 500, 0)
    service.play(10, 500, 0)
    assert 10 <= service.sent <= 0.06 * 5000


def test_the_most_critical_are_kept_back_last():
    service = Service()
    service.play(3, 500, 200, critical=0.2)
    service.play(10, 500, 200, critical=0.2)
    assert service.critical >= 0.99 * service.asked
    assert service.state.share(CRITICAL) == 1.0
    assert service.state.share(SHEDDABLE) == pytest.approx((1.3 * 200 - 100) / 400, abs=0.15)
    service.play(10, 500, 50, critical=0.2)
    assert service.state.share(CRITICAL) < 1.0
    assert service.state.share(SHEDDABLE) == 0.0


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 2.0),
            st.lists(st.integers(0, 60), min_size=4, max_size=4),
            st.integers(0, 100),
            st.integers(0, 100),
        ),
        max_size=20,
    )
)
def test_no_class_gets_anything_before_a_more_critical_one_gets_all(turns):
    now = 0.0
    state = Backpressure(METHOD, lambda event: None, lambda: now)
    state.refused()
    for past, asked, answered, refused in turns:
        now += past
        for criticality, count in zip(Criticality, asked, strict=True):
            for _ in range(count):
                state.admits(call_of(criticality), 0.5)
        for _ in range(answered):
            state.answered()
        for _ in range(refused):
            state.refused()
        shares = [state.share(each) for each in Criticality]
        assert all(0.0 <= share <= 1.0 and math.isfinite(share) for share in shares)
        assert shares == sorted(shares)
        assert sum(0.0 < share < 1.0 for share in shares) <= 1


def test_a_refusal_now_and_then_keeps_nothing_back():
    service = Service()
    service.play(20, 100, 95)
    assert service.state.share(SHEDDABLE) >= 0.9
    service = Service()
    service.play(20, 2, 1)  # who calls seldom is no overload
    assert service.state.share(SHEDDABLE) == 1.0


def test_what_is_kept_back_says_so():
    service = Service()
    service.play(3, 500, 50)
    failure = service.state.refusal(call_of(SHEDDABLE))
    assert failure.code is StatusCode.RESOURCE_EXHAUSTED
    assert failure.refusal is Throttled and not failure.sent
    assert "the servers of /shop.v1.Orders/Place shed load" in failure.details
    assert "sheddable" in failure.details


def test_without_refusals_it_ends_though_nothing_is_answered():
    """What is lost for another reason, such as a frozen instance, is not this one's business."""
    service = Service()
    service.play(5, 500, 50)
    assert service.state.share(SHEDDABLE) < 0.5
    for _ in range(3000):
        service.now += 0.01
        if not service.state.wary:
            break
        service.state.admits(call_of(SHEDDABLE), 0.5)
    assert not service.state.wary


def test_a_few_refusals_for_ever_are_borne_for_ever():
    service = Service()
    service.play(3, 500, 50)
    for _ in range(3000):
        service.now += 0.2
        for taken in (True,) * 9 + (False,):
            (service.state.answered if taken else service.state.refused)()
            service.state.admits(call_of(SHEDDABLE), 0.5)
    assert service.state.share(SHEDDABLE) == 1.0
