"""Backpressure before a modelled service that takes so many calls a second of a client."""

from random import Random

import pytest
from grpc import StatusCode

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
    """Takes ``capacity`` calls a second, with a queue of 20, and sheds the rest of one class."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = []
        self.state = Backpressure("shop.v1.Orders", self.events.append, lambda: self.now)
        self.sent = self.taken = 0
        self._random = Random(1)
        self._room = 0.0

    def play(self, seconds: float, rate: float, capacity: float, criticality=SHEDDABLE) -> None:
        self.sent = self.taken = 0
        for _ in range(round(seconds * rate)):
            self.now += 1.0 / rate
            self._room = min(self._room + capacity / rate, 20.0)
            call = call_of(criticality)
            if self.state.wary and not self.state.admits(call, self._random.random()):
                continue
            self.sent += 1
            if self._room >= 1.0:
                self._room -= 1.0
                self.taken += 1
                if self.state.wary:
                    self.state.taken(call, self.now)
            else:
                self.state.refused(call, self.now)


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


def test_classes_are_kept_back_apart():
    service = Service()
    service.play(3, 500, 50)
    assert service.state.share(SHEDDABLE) < 0.3
    assert service.state.share(CRITICAL) == 1.0
    assert service.state.admits(call_of(CRITICAL), 0.999)


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
    assert "shop.v1.Orders sheds load" in failure.details
    assert "sheddable" in failure.details


def test_a_few_refusals_for_ever_are_borne_for_ever():
    """A lane that is calm and never over: its steps must not grow without end."""
    service = Service()
    service.play(3, 500, 50)
    for _ in range(3000):
        service.now += 0.2
        for taken in (True,) * 9 + (False,):
            (service.state.taken if taken else service.state.refused)(
                call_of(SHEDDABLE), service.now
            )
        service.state.admits(call_of(SHEDDABLE), 0.5)
    assert service.state.share(SHEDDABLE) == 1.0
