"""Bulkheads: never more than so many, first come first served, and every place comes back."""

from collections.abc import Callable

import pytest
from grpc import StatusCode
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seawall.call import Call, Endpoint, Failure, Success
from seawall.errors import BulkheadFull, DeadlinePassed
from seawall.policy.bulkhead import Bulkhead, BulkheadPolicy, bulkhead
from seawall.policy.plan import send
from seawall.testing.clock import FakeClock
from seawall.testing.plans import instance
from tests.policy.stepping import Running, Stepper
from tests.policy.support import READ, UNAVAILABLE, WATCH

SERVICE = "shop.v1.Inventory"
ENDPOINT = Endpoint(instance(), None, None)


class Guarded:
    """A bulkhead, and calls that go through it."""

    def __init__(self, most: int, queue: int = 0, max_wait: float | None = None) -> None:
        self.clock = FakeClock()
        self.stepper = Stepper(self.clock)
        self.state = Bulkhead(BulkheadPolicy(most, queue, max_wait), SERVICE)
        self.handler = bulkhead(self.state, self.clock)(send)

    def start(self, method=READ, timeout: float | None = None) -> Running:
        deadline = None if timeout is None else self.clock() + timeout
        call = Call(method, self.clock(), deadline)
        call.endpoint = ENDPOINT
        return self.stepper.start(call, self.handler(call))

    def answer(self, run: Running, outcome=None) -> None:
        self.stepper.answer(run, outcome or Success("answer"))
        self.stepper.settle()


def end_stream(run: Running) -> None:
    for hook in run.call.at_end:
        hook(Success())


def test_one_more_than_may_run_is_refused_and_told_what_to_do():
    guarded = Guarded(2)
    first = guarded.start()
    guarded.start()
    outcome = guarded.start().outcome
    assert outcome.refusal is BulkheadFull and outcome.code is StatusCode.RESOURCE_EXHAUSTED
    assert not outcome.sent
    assert "bulkhead of shop.v1.Inventory is full: 2 calls are under way, of 2" in outcome.details
    assert "0 wait, of 0" in outcome.details and '"maxConcurrent"' in outcome.details
    guarded.answer(first)
    assert guarded.start().sent


@pytest.mark.parametrize("end", [Success("answer"), UNAVAILABLE], ids=["answered", "failed"])
def test_however_a_call_ends_its_place_is_free(end):
    guarded = Guarded(1)
    run = guarded.start()
    guarded.answer(run, end)
    assert run.outcome is end and guarded.state.running == 0


def test_those_who_wait_go_in_the_order_in_which_they_came():
    guarded = Guarded(1, 3)
    runs = [guarded.start() for _ in range(4)]
    assert [run.sent for run in runs] == [True, False, False, False]
    for run in runs:
        guarded.answer(run)
    assert guarded.stepper.sent == runs and guarded.state.running == 0


def test_a_full_queue_refuses():
    guarded = Guarded(1, 1)
    guarded.start()
    guarded.start()
    assert "1 wait, of 1 that may" in guarded.start().outcome.details


def test_who_waits_too_long_is_refused():
    guarded = Guarded(1, 2, max_wait=0.5)
    guarded.start()
    run = guarded.start()
    guarded.stepper.advance(0.49)
    assert not run.over
    guarded.stepper.advance(0.02)
    assert run.outcome.refusal is BulkheadFull and "had not come after 0.5 s" in run.outcome.details
    assert guarded.state.waiting == 0


def test_without_a_limit_or_a_deadline_a_call_waits_for_hours():
    guarded = Guarded(1, 1)
    first, second = guarded.start(), guarded.start()
    guarded.stepper.advance(10_000.0)
    assert not second.over
    guarded.answer(first)
    assert second.sent


def test_a_deadline_that_passes_in_the_queue_is_the_reason():
    guarded = Guarded(1, 1, max_wait=5.0)
    guarded.start()
    run = guarded.start(timeout=0.2)
    guarded.stepper.advance(0.3)
    assert run.outcome.refusal is DeadlinePassed
    assert run.outcome.code is StatusCode.DEADLINE_EXCEEDED and not run.outcome.sent
    assert "0.2 s in the queue" in run.outcome.details
    assert guarded.state.waiting == 0


def test_a_place_that_comes_too_late_is_passed_on():
    guarded = Guarded(1, 2)
    first, late, third = guarded.start(), guarded.start(timeout=0.2), guarded.start()
    guarded.stepper.answer(first, Success())
    guarded.clock.advance(0.3)  # before the wake is delivered
    guarded.stepper.settle()
    assert late.outcome.refusal is DeadlinePassed
    guarded.stepper.settle()
    assert third.sent
    guarded.answer(third)
    assert guarded.state.running == 0


def test_one_cancelled_in_the_queue_leaves_no_gap():
    guarded = Guarded(1, 2)
    first, second, third = guarded.start(), guarded.start(), guarded.start()
    guarded.stepper.cancel(second)
    assert guarded.state.waiting == 1
    guarded.answer(first)
    assert third.sent


def test_one_cancelled_between_its_wake_and_its_next_step_passes_the_place_on():
    guarded = Guarded(1, 2)
    first, second, third = guarded.start(), guarded.start(), guarded.start()
    guarded.stepper.answer(first, Success())
    guarded.stepper.cancel(second)
    guarded.stepper.settle()
    assert third.sent
    guarded.answer(third)
    assert guarded.state.running == 0 and guarded.state.waiting == 0


def test_a_newcomer_does_not_overtake_one_that_was_woken():
    guarded = Guarded(1, 1)
    first, second = guarded.start(), guarded.start()
    guarded.stepper.answer(first, Success())
    newcomer = guarded.start()
    guarded.stepper.settle()
    assert second.sent and not newcomer.sent


def test_a_place_is_held_until_the_end_of_a_stream():
    guarded = Guarded(1, 1)
    stream = guarded.start(WATCH)
    waits = guarded.start()
    guarded.answer(stream)
    assert stream.outcome.ok and not waits.sent
    end_stream(stream)
    guarded.stepper.settle()
    assert waits.sent


def test_a_stream_that_never_began_holds_no_place():
    guarded = Guarded(1)
    guarded.answer(guarded.start(WATCH), UNAVAILABLE)
    assert guarded.state.running == 0


def test_a_layer_below_that_raises_keeps_no_place():
    guarded = Guarded(1)

    def broken(call):
        raise ZeroDivisionError
        yield

    plan = bulkhead(guarded.state, guarded.clock)(broken)(Call(READ, 0.0, None))
    with pytest.raises(ZeroDivisionError):
        next(plan)
    assert guarded.state.running == 0


class BulkheadMachine(RuleBasedStateMachine):
    """Calls that come, wait, are answered, cancelled and time out in any order."""

    MOST, QUEUE = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.guarded = Guarded(self.MOST, self.QUEUE, max_wait=2.0)
        self.streams: list[Running] = []
        self.came: list[Running] = []

    @property
    def stepper(self) -> Stepper:
        return self.guarded.stepper

    @property
    def sent(self) -> list[Running]:
        return [run for run in self.stepper.running if run.sent]

    @rule(stream=st.booleans(), timeout=st.sampled_from([None, 0.5, 1.5]))
    def call(self, stream: bool, timeout: float | None) -> None:
        self.came.append(self.guarded.start(WATCH if stream else READ, timeout))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), ok=st.booleans())
    def answer(self, data: st.DataObject, ok: bool) -> None:
        run = data.draw(st.sampled_from(self.sent))
        self.stepper.answer(run, Success() if ok else Failure(StatusCode.UNAVAILABLE))
        if run.call.at_end:
            self.streams.append(run)

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.streams))
        self.streams.remove(run)
        end_stream(run)

    @precondition(lambda self: self.stepper.running)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.stepper.cancel(data.draw(st.sampled_from(self.stepper.running)))

    @rule()
    def settle(self) -> None:
        self.stepper.settle()

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        self.stepper.advance(seconds)

    @invariant()
    def never_more_than_may(self) -> None:
        state = self.guarded.state
        assert len(self.sent) + len(self.streams) <= state.running <= self.MOST
        assert state.waiting <= self.QUEUE
        assert state.running == self.MOST or not state.waiting

    @invariant()
    def first_come_first_served(self) -> None:
        queued = self.guarded.state._queue
        waiting = [number for number, run in enumerate(self.came) if run.parked in queued]
        sent = [number for number, run in enumerate(self.came) if run in self.stepper.sent]
        assert not waiting or not sent or max(sent) < min(waiting)

    def teardown(self) -> None:
        for run in tuple(self.stepper.running):
            self.stepper.cancel(run)
        for run in self.streams:
            end_stream(run)
        assert self.guarded.state.running == 0 and self.guarded.state.waiting == 0
        assert all(run.over for run in self.came)


TestBulkheadMachine: Callable = BulkheadMachine.TestCase
TestBulkheadMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_with_more_places_those_who_wait_begin_at_once():
    guarded = Guarded(1, 5)
    runs = [guarded.start() for _ in range(4)]
    guarded.state.follow(BulkheadPolicy(3, 5))
    guarded.stepper.settle()
    assert [run.sent for run in runs] == [True, True, True, False]
    assert guarded.state.running == 3 and guarded.state.waiting == 1


def test_with_fewer_places_nobody_begins_before_enough_have_ended():
    guarded = Guarded(3, 5)
    runs = [guarded.start() for _ in range(5)]
    guarded.state.follow(BulkheadPolicy(1, 5))
    guarded.answer(runs[0])
    guarded.answer(runs[1])
    assert guarded.state.running == 1 and not runs[3].sent
    guarded.answer(runs[2])
    assert runs[3].sent and not runs[4].sent
    guarded.answer(runs[3])
    guarded.answer(runs[4])
    assert guarded.state.running == 0


def test_one_that_was_promised_a_place_and_is_cancelled_passes_it_on_only_if_it_may():
    guarded = Guarded(2, 5)
    first, second, third, fourth = [guarded.start() for _ in range(4)]
    guarded.stepper.answer(first, Success("answer"))  # the third is about to begin
    guarded.state.follow(BulkheadPolicy(1, 5))
    guarded.stepper.cancel(third)
    guarded.stepper.settle()
    assert not fourth.sent and guarded.state.running == 1
    guarded.answer(second)
    assert fourth.sent
