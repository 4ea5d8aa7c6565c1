"""What is said of those who were not candidates: enough, and not more the longer a call waits."""

import pytest

from seawall.policy.breaker import BreakerPolicy
from seawall.policy.subset import Subset, SubsetPolicy
from tests.policy.support import World, fails, ok


def tripped(world: World, *endpoints) -> None:
    for endpoint in endpoints:
        endpoint.breaker.failed(world.clock())


def test_a_call_that_waits_for_long_has_not_the_more_to_say():
    world = World({"a": ok(), "b": ok()}, breaker_policy=BreakerPolicy(1))
    tripped(world, *world.group.endpoints)
    for endpoint in world.group.endpoints:
        assert endpoint.breaker.acquire(world.clock())  # another call is the probe
    waits = 0

    def change() -> None:
        nonlocal waits
        waits += 1
        if waits == 1000:
            world.endpoint("a").breaker.release()

    world.runner.on_await = change
    call = world.call(timeout=None)
    call.wait_for_ready = True
    assert world.run(call).ok
    assert waits == 1000 and len(call.notes) <= 2
    assert call.notes[0].startswith("1 of 2 connected instances left out: b (")


def test_of_thousands_left_out_a_few_are_named():
    servers = {f"10.{n // 250}.{n % 250}.1:1": ok() for n in range(5000)}
    world = World(servers, breaker_policy=BreakerPolicy(1))
    world.group.resize(Subset(SubsetPolicy(10_000), "me"))
    for endpoint in world.group.endpoints:
        world.group.set_ready(endpoint, True)
    assert len(world.group.ready) == 5000
    tripped(world, *world.group.endpoints[:100])
    call = world.call()
    assert world.run(call).ok
    assert call.notes[0].startswith("100 of 5000 ") and len(call.notes[0]) < 300


def test_of_more_than_are_used_it_is_told_how_many_were_tried():
    world = World({f"10.0.{n}.1:1": ok() for n in range(100)})
    for endpoint in world.group.endpoints:
        world.group.set_ready(endpoint, False)
        endpoint.settled = True
    outcome = world.run(timeout=10.0)
    assert "100 instances of shop.v1.Inventory are listed and the 20 that" in outcome.details


@pytest.mark.parametrize("timeout", [1.0, 0.01], ids=["all attempts", "too late for a second"])
def test_that_all_are_open_is_said_once_whatever_the_attempts(timeout):
    world = World({name: fails() for name in "abc"}, breaker_policy=BreakerPolicy(1, 60.0, 60.0))
    tripped(world, *world.group.endpoints)
    call = world.call(timeout=timeout)
    assert not world.run(call).ok
    assert len(world.sent) == (3 if timeout == 1.0 else 1)
    said = [note for note in call.notes if "open breakers" in note]
    assert said == ["all 3 connected instances have open breakers: each is probed"]
    assert not any("left out" in note or "opened" in note for note in call.notes)


def test_those_that_are_ejected_are_told_from_those_with_open_breakers():
    world = World({name: ok() for name in "abc"}, breaker_policy=BreakerPolicy(1, 60.0, 60.0))
    *open_, ejected = world.group.endpoints
    tripped(world, *open_)
    ejected.ejected = True
    world.group.trip(ejected)
    call = world.call()
    assert world.run(call).ok
    state = "are ejected or have open breakers"
    assert call.notes == [f"all 3 connected instances {state}: each is probed"]


def test_who_is_left_out_of_each_attempt_is_said_once():
    world = World({name: fails() for name in "abcd"}, breaker_policy=BreakerPolicy(1000))
    bad = world.endpoint("d")
    bad.ejected = True
    world.group.trip(bad)
    call = world.call()
    assert not world.run(call).ok
    assert len(world.sent) == 3
    left_out = [note for note in call.notes if "left out" in note]
    assert left_out == ["1 of 4 connected instances left out: d (ejected)"]
    assert call.notes[0] == left_out[0] and call.notes[-1].startswith("left then: ")


def test_a_breaker_that_opens_is_a_note_and_one_that_stays_open_is_none():
    world = World({"a": fails()}, breaker_policy=BreakerPolicy(3, 60.0, 60.0))
    call = world.call()
    world.run(call)
    assert "the breaker of a opened: 3 in a row failed" in call.notes
    for pause in (0.0, 120.0):
        world.clock.advance(pause)
        call = world.call()
        world.run(call)
        assert not any(note.startswith("the breaker of") for note in call.notes)
