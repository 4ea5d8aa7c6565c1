"""What is said of those who were not candidates: enough, and not more the longer a call waits."""

from seawall.policy.breaker import BreakerPolicy
from seawall.policy.subset import Subset, SubsetPolicy
from tests.policy.support import World, ok


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
