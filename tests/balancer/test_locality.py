import pytest

from seawall.balancer.latency import PeakEwma
from seawall.call import Endpoint, Instance
from tests.balancer.support import World, endpoint, policy


def zones(**counts) -> tuple[Endpoint, ...]:
    return tuple(
        endpoint(f"{zone}{number}", zone=zone)
        for zone, count in counts.items()
        for number in range(count)
    )


def part(world, candidates, zone="a", times=4000) -> float:
    counts = world.counts(candidates, times)
    return sum(count for address, count in counts.items() if address[0] == zone) / times


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize(
    ("counts", "stays"),
    [
        ({"a": 10, "b": 10, "c": 10}, 1.0),
        ({"a": 20, "b": 10}, 1.0),
        ({"a": 5, "b": 10, "c": 10}, 0.6),
        ({"a": 1, "b": 9}, 0.2),
        ({"b": 3, "c": 3}, 0.0),
        ({"a": 2}, 1.0),
    ],
)
def test_the_zone_takes_its_part_and_the_rest_spills(kind, counts, stays):
    world = World(policy("locality"), zone="a")
    assert part(world, kind(zones(**counts))) == pytest.approx(stays, abs=0.03)


def test_every_instance_has_the_same_to_do_when_a_zone_is_short():
    candidates = zones(a=5, b=10, c=10)
    total = {one.address: 0 for one in candidates}
    for zone in "abc":
        for address, count in World(policy("locality"), zone).counts(candidates, 10_000).items():
            total[address] += count
    assert min(total.values()) > 0.8 * 1200 and max(total.values()) < 1.2 * 1200


def test_the_part_of_the_traffic_may_be_said():
    world = World(policy("locality", trafficShare=0.25), zone="a")
    assert part(world, zones(a=10, b=10)) == 1.0
    world = World(policy("locality", trafficShare=1), zone="a")
    assert part(world, zones(a=10, b=10)) == pytest.approx(0.5, abs=0.03)


def test_capacity_is_the_sum_of_weights():
    big = endpoint("a0", zone="a", weight=3)
    world = World(policy("locality"), zone="a")
    assert part(world, (big, *zones(b=3))) == 1.0


def test_who_knows_no_zone_picks_among_all():
    world = World(policy("locality", childPolicy=[{"round_robin": {}}]))
    counts = world.counts((*zones(a=2, b=1), endpoint("x")), 100)
    assert list(counts.values()) == [25] * 4


def test_instances_without_a_zone_are_elsewhere():
    world = World(policy("locality"), zone="a")
    assert part(world, (*zones(a=1), endpoint("x"))) == 1.0
    assert world.pick((endpoint("x"),)).address == "x"


def test_a_new_snapshot_is_looked_at_anew():
    world = World(policy("locality"), zone="a")
    assert part(world, zones(a=1, b=1)) == 1.0
    assert part(world, zones(b=1)) == 0.0
    assert part(world, zones(a=1)) == 1.0


def test_reports_reach_the_child_of_the_zone():
    world = World(policy("locality", childPolicy=[{"hot_cold": {}}]), zone="a")
    assert world.balancer.reports_from
    a, b = zones(a=1, b=1)
    for one in (a, b):
        world.report(one, in_flight=1.0, latency=0.01)
    assert list(world.balancer._here._pool) == [a]
    assert list(world.balancer._elsewhere._pool) == [b]
    plain = policy("locality", childPolicy=[{"least_loaded": {}}])
    assert not World(plain, zone="a").balancer.reports_from


def test_a_zone_that_is_no_text_is_read_as_text():
    seven = Endpoint(Instance("s", "i", "7", {"zone": 7}), None, PeakEwma())
    world = World(policy("locality"), zone="7")
    assert world.pick((*zones(b=1), seven)).address == "7"


def standing_for(candidates, **numbers):
    """Each zone's endpoints stand for so many in all."""
    for zone, number in numbers.items():
        members = [e for e in candidates if e.address[0] == zone]
        for one in members:
            one.stands_for = number / len(members)
    return candidates


def test_a_subset_with_more_of_the_own_zone_spills_as_the_whole_would():
    candidates = standing_for(zones(a=5, b=8, c=7), a=100, b=400, c=400)
    world = World(policy("locality"), zone="a")
    assert part(world, candidates) == pytest.approx((100 / 900) * 3, abs=0.03)
    candidates = standing_for(zones(a=10, b=5, c=5), a=300, b=300, c=300)
    assert part(world, candidates) == 1.0
