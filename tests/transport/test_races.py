"""What may happen at one moment to one call: hedges, answers, limits, fallbacks, cancellation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.balancer.latency import PeakEwma
from seawall.balancer.least_loaded import LeastLoaded
from seawall.call import Call, Endpoint, Method
from seawall.policy.balance import balance
from seawall.policy.breaker import Breaker, BreakerPolicy
from seawall.policy.budget import RetryBudget
from seawall.policy.bulkhead import Bulkhead, BulkheadPolicy, bulkhead
from seawall.policy.fallback import fallback
from seawall.policy.group import Group
from seawall.policy.hedge import HedgePolicy, hedge
from seawall.policy.plan import send, stack
from seawall.policy.retry import RetryPolicy, retry
from seawall.policy.stale import StaleAnswers, StalePolicy, stale_if_error
from seawall.testing.clock import FakeClock
from tests.policy.support import listing
from tests.transport.hand import HandDriver

READ = Method.from_path("/shop.v1.Inventory/GetStock", idempotent=True)
CHARGE = Method.from_path("/shop.v1.Inventory/Charge")
OWN = "the fallback"
ROOM = 2
HEDGES = 3
"""What the budget of hedges allows: it is never filled up."""


class World:
    """One service with a bulkhead, hedging (or retries), stale answers and a fallback."""

    def __init__(self, hedging: HedgePolicy | None = None) -> None:
        self.clock = FakeClock()
        self.budget = RetryBudget(self.clock, ratio=0.0, floor=HEDGES / 10)
        self.room = Bulkhead(BulkheadPolicy(ROOM, 5), "test")
        self.group = Group("shop.v1.Inventory", self._make)
        self.group.apply(listing("a", "b", "c", "d"))
        for endpoint in self.group.endpoints:
            self.group.set_ready(endpoint, True)
        retrying = retry(RetryPolicy(max_attempts=3), self.budget, self.clock, lambda: 0.5)
        answers = StaleAnswers(StalePolicy(60.0), self.clock)
        picker = LeastLoaded(lambda: 0.0, self.clock)
        self.handler = stack(
            [
                fallback(lambda call, kind: None),
                stale_if_error(answers, lambda outcome: "kept", lambda call, kind: None),
                bulkhead(self.room, self.clock),
                hedge(hedging, retrying, self.budget, self.clock, lambda: 0.5),
                balance(self.group, picker, self.clock),
            ],
            send,
        )

    def _make(self, instance: Any) -> Endpoint:
        breaker = Breaker(
            BreakerPolicy(consecutive_failures=100), lambda old, new: self.group.trip(endpoint)
        )
        transport = SimpleNamespace(
            callables={}, bind=lambda bound: None, lost_since=lambda when: False
        )
        endpoint = Endpoint(instance, breaker, PeakEwma(), transport)
        return endpoint

    def start(self, *, method: Method = READ, mended: bool = True) -> HandDriver:
        call = Call(method, self.clock(), self.clock() + 10.0)
        call.request = b"x"
        call.options = {"fallback": lambda call, failure: OWN} if mended else None
        return HandDriver(call, self.handler(call)).start()

    def is_at_rest(self) -> bool:
        return self.room.running == 0 == sum(e.outstanding for e in self.group.endpoints)


def three_hedges() -> World:
    return World(HedgePolicy(max_attempts=3, delay=0.1))


def test_an_answer_that_comes_while_the_fallback_works_is_too_late() -> None:
    world = three_hedges()
    call = world.start()
    call.ring()
    call.ring()
    first, second, third = call.attempts
    call.end(first, StatusCode.INTERNAL)  # which is the call's end: the fallback begins
    assert third.code is StatusCode.CANCELLED
    assert second.code is StatusCode.CANCELLED, "a loser was left running beside the fallback"
    call.run()
    assert call.outcome.ok and call.outcome.value == OWN
    assert world.is_at_rest()


@pytest.mark.parametrize("hedging", [HedgePolicy(delay=0.1), None])
def test_an_answer_in_the_same_moment_as_the_winner_changes_nothing(hedging) -> None:
    world = World(hedging)
    call = world.start()
    call.ring()
    first, second = call.attempts
    call.end(second)  # its answer is about to be kept, for a time of errors
    assert call.job is not None
    assert first.code is StatusCode.CANCELLED
    call.run()
    assert call.outcome.ok and call.outcome.value is second
    assert world.is_at_rest()


def test_a_hedge_that_waits_for_an_instance_is_dropped_when_the_first_answers() -> None:
    world = three_hedges()
    call = world.start()
    for endpoint in world.group.endpoints:
        if endpoint is not call.attempts[0].endpoint:
            endpoint.breaker = Breaker(BreakerPolicy(1))
            endpoint.breaker.failed(world.clock())
            endpoint.breaker.acquire(world.clock())  # being probed by somebody else
            world.group.tripped.add(endpoint)
    call.ring()
    call.end(call.attempts[0])
    call.run()
    assert call.outcome.ok and call.ends == 1
    assert world.is_at_rest()


def test_what_an_answer_that_ended_the_call_late_was_is_told() -> None:
    world = three_hedges()
    call = world.start(mended=False)
    call.ring()
    call.end(call.attempts[0], StatusCode.NOT_FOUND)
    assert call.outcome.code is StatusCode.NOT_FOUND
    address = call.attempts[0].endpoint.address
    assert any(address in note and "NOT_FOUND" in note for note in call.call.notes)
    assert call.call.notes[-1].startswith("left then: ")


def test_a_method_with_effects_is_never_hedged() -> None:
    world = three_hedges()
    call = world.start(method=CHARGE)
    call.ring()
    assert len(call.attempts) == 1


CODES = (StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.NOT_FOUND)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "ring", "end", "ring", "end", "wait", "run", "cancel", "pass"]),
        st.integers(0, 7),
        st.sampled_from(CODES),
    ),
    min_size=12,
    max_size=60,
)


def _do(world: World, calls: list[HandDriver], what: str, which: int, code: StatusCode) -> None:
    if what == "start" and len(calls) < 3:
        calls.append(world.start(method=CHARGE if which == 7 else READ, mended=which % 2 == 0))
    if not calls:
        return
    call = calls[which % len(calls)]
    if what == "end" and call.open:
        call.end(call.open[which % len(call.open)], code)
    elif what == "ring":
        call.ring()
    elif what == "wait":
        call.wait()
    elif what == "run":
        call.run()
    elif what == "cancel":
        call.cancel()
    elif what == "pass":
        world.clock.advance(0.01)


def _finish(calls: list[HandDriver]) -> None:
    """Let everything that is still under way come to an end."""
    for _ in range(50):
        for call in calls:
            if call.open:
                call.end(call.open[0])
            call.run()
            call.wait()


@settings(max_examples=200)
@given(STEPS, st.booleans())
def test_whatever_happens_when_each_call_ends_once_and_leaves_nothing_behind(
    steps: list[tuple[str, int, StatusCode]], hedged: bool
) -> None:
    world = World(HedgePolicy(max_attempts=3, delay=0.1) if hedged else None)
    calls: list[HandDriver] = []
    for what, which, code in steps:
        _do(world, calls, what, which, code)
        assert world.room.running <= ROOM
        for call in calls:
            if call.outcome is not None:
                assert not call.open, "an attempt goes on though its call has ended"
    _finish(calls)
    for call in calls:
        assert call.ends == 1
        outcome = call.outcome
        assert outcome.ok or not outcome.details.startswith("a policy failed"), outcome
        if call.call.method is CHARGE:
            ran = [a for a in call.attempts if a.endpoint is not None]
            assert len(ran) == 1
    assert world.is_at_rest()
    assert world.room.waiting == 0
    extra = sum(max(0, len(call.attempts) - 1) for call in calls)
    passed = sum(what == "pass" for what, *_ in steps) * 0.01
    assert extra <= HEDGES + passed * HEDGES / 10 + 1e-6
