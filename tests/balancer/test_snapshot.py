from seawall.balancer.snapshot import OncePerSnapshot, capacity, parted
from tests.balancer.support import endpoint, endpoints


def test_a_snapshot_is_worked_out_once_and_a_selection_each_time():
    seen = []
    once = OncePerSnapshot(lambda candidates: seen.append(candidates) or len(seen))
    snapshot, selection = endpoints("abc"), list(endpoints("ab"))
    assert [once.of(snapshot), once.of(snapshot)] == [1, 1]
    assert [once.of(selection), once.of(selection)] == [2, 3]
    assert once.of(snapshot) == 1  # a selection between does not cost it
    assert once.of(endpoints("abc")) == 4


def test_parts_are_of_the_kind_that_the_whole_is():
    a, b, c = endpoint("a", zone="x"), endpoint("b"), endpoint("c", zone="x")
    assert parted((a, b, c), "zone") == {"x": (a, c), "": (b,)}
    assert parted([a, b, c], "zone") == {"x": [a, c], "": [b]}


def test_capacity_is_what_the_registry_says_not_how_warm_they_are():
    a, b = endpoint("a", weight=3), endpoint("b")
    b.share = b.fair_share / 0.1
    assert capacity((a, b)) == 4.0
