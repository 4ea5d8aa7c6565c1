from collections import Counter
from statistics import pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Change, Endpoint, Instance, Listing
from seawall.policy.breaker import Breaker, BreakerPolicy
from seawall.policy.group import Group
from seawall.policy.subset import WHOLE, Parting, Subset, SubsetPolicy, van_der_corput
from tests.policy.support import listing

ADDRESSES = [f"10.0.{n // 250}.{n % 250}:80" for n in range(1000)]


DEFAULT = SubsetPolicy()


def subset_of(addresses, policy=DEFAULT, seed="me"):
    subset = Subset(policy, seed)
    for address in addresses:
        subset.put(address)
    return subset


def grouped(size=3, addresses=ADDRESSES[:20], make=None):
    group = Group("s", make or endpoint, Subset(SubsetPolicy(size), "me"))
    group.apply(listing(*addresses))
    return group


def endpoint(instance: Instance) -> Endpoint:
    return Endpoint(instance, Breaker(BreakerPolicy()), None)


def used(group) -> set[str]:
    return {e.address for e in group.endpoints}


@pytest.mark.parametrize("client", [None, 0, 7])
@given(st.sets(st.sampled_from(ADDRESSES), min_size=1), st.randoms(use_true_random=False))
def test_one_that_comes_or_goes_changes_hardly_anything(client, addresses, random):
    policy = SubsetPolicy(5, client)
    subset = subset_of(addresses, policy)
    before = set(subset.first(5))
    gone = random.choice(sorted(addresses))
    subset.remove(gone)
    after = set(subset.first(5))
    assert len(before - after) <= (1 if client is None else 2)
    assert len(after - before) <= (1 if client is None else 2)
    assert client is not None or (gone in before) == (before != after)
    subset.put(gone)
    assert set(subset.first(5)) == before


def test_the_order_they_came_in_does_not_matter():
    assert list(subset_of(ADDRESSES).first(9)) == list(subset_of(reversed(ADDRESSES)).first(9))


def test_clients_by_chance_have_subsets_of_their_own():
    assert subset_of(ADDRESSES, seed="a").first(20) != subset_of(ADDRESSES, seed="b").first(20)


@pytest.mark.parametrize("clients", [50, 100, 333])
def test_numbered_clients_are_spread_more_evenly_than_by_chance(clients):
    def unevenness(policies):
        """The variance of how many clients use an instance."""
        counts = Counter(dict.fromkeys(ADDRESSES[:100], 0))
        for number, policy in enumerate(policies):
            counts.update(subset_of(ADDRESSES[:100], policy, seed=str(number)).first(20))
        return pvariance(counts.values())

    numbered = unevenness([SubsetPolicy(20, number) for number in range(clients)])
    assert 10 * numbered < unevenness([SubsetPolicy(20)] * clients)


def test_the_sequence_halves_the_widest_gap():
    assert [van_der_corput(n) for n in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


def test_a_group_uses_its_subset_only():
    group = grouped()
    assert len(group) == 20 and len(group.endpoints) == 3


def test_of_few_all_are_used():
    assert len(grouped(size=30).endpoints) == 20


def test_another_takes_the_place_of_one_that_left():
    group = grouped()
    before = used(group)
    gone = min(before)
    turnover = group.apply(Change(left=frozenset({gone})))
    assert [e.address for e in turnover.removed] == [gone]
    assert len(turnover.added) == 1 and len(group.endpoints) == 3
    assert before - used(group) == {gone}


def test_those_that_are_down_are_made_up_for_until_the_next_list():
    group = grouped()
    before = used(group)
    for one in group.endpoints[:2]:
        one.settled = True
    assert len(group.compensate().added) == 2
    assert len(group.endpoints) == 5
    assert not group.compensate()
    for one in group.endpoints:
        group.set_ready(one, True)
    assert not group.compensate()
    turnover = group.apply(listing(*ADDRESSES[:20]))
    assert len(turnover.removed) == 2
    assert used(group) == before


def test_if_all_are_down_no_more_than_twice_the_subset_is_used():
    group = grouped()
    for _ in range(10):
        for one in group.endpoints:
            one.settled = True
        group.compensate()
    assert len(group.endpoints) == 6


def test_another_size_keeps_who_stays():
    group = grouped()
    before = set(group.endpoints)
    turnover = group.resize(Subset(SubsetPolicy(5), "me"))
    assert not turnover.removed and len(turnover.added) == 2
    assert before < set(group.endpoints)


def test_an_address_of_which_nothing_can_be_made_is_tried_when_it_changes():
    tried = []

    def make(instance):
        tried.append(instance.address)

    group = grouped(addresses=["a"], make=make)
    group.apply(Change(put=listing("b").instances))
    assert tried == ["a", "b"]
    group.apply(Change(put=(Instance("shop.v1.Inventory", "a", "a", {"v": 1}),)))
    assert tried == ["a", "b", "a"]


def many(**counts) -> dict[str, dict]:
    """Addresses of so many instances of each zone."""
    return {
        f"{zone}{number}": {"zone": zone}
        for zone, count in counts.items()
        for number in range(count)
    }


def parted(addresses, parting, policy=DEFAULT, seed="me"):
    subset = Subset(policy, seed, parting)
    for address, facts in addresses.items():
        subset.put(address, facts)
    return subset


def zones_of(found) -> Counter:
    return Counter(address[0] for address in found)


def test_half_are_of_the_callers_own_zone_if_it_has_so_many():
    near = Parting(zone="a")
    for counts, own in [
        ({"a": 333, "b": 333, "c": 334}, 10),
        ({"a": 900, "b": 100}, 18),
        ({"a": 5, "b": 995}, 5),
        ({"b": 500, "c": 500}, 0),
        ({"a": 500}, 20),
    ]:
        found = parted(many(**counts), near).first(20)
        assert len(found) == 20 and zones_of(found)["a"] == own, counts


def test_together_they_stand_for_everybody():
    addresses = many(a=30, b=500, c=470)
    found = parted(addresses, Parting(zone="a")).first(20)
    stand_for = Counter()
    for address, number in found.items():
        stand_for[address[0]] += number
    assert stand_for == pytest.approx({"a": 30, "b": 500, "c": 470})


def test_some_of_each_version_are_used_however_few_there_are():
    addresses = {f"old{n}": {"version": "1"} for n in range(990)}
    addresses |= {f"new{n}": {"version": "2"} for n in range(10)}
    addresses |= {"odd": {}}
    for seed in "abcde":
        found = parted(addresses, Parting(("version",)), seed=seed).first(20)
        kinds = Counter(address[:3] for address in found)
        assert kinds == {"old": 17, "new": 2, "odd": 1}


def test_versions_come_before_zones():
    addresses = {f"old{n}": {"version": "1", "zone": "ab"[n % 2]} for n in range(990)}
    addresses |= {f"new{n}": {"version": "2", "zone": "b"} for n in range(10)}
    found = parted(addresses, Parting(("version",), "a")).first(20)
    assert Counter(address[:3] for address in found) == {"old": 18, "new": 2}
    assert sum(addresses[address]["zone"] == "a" for address in found) == 9


def test_other_clients_have_other_instances_of_each_zone():
    addresses = many(a=500, b=500)
    first, second = (parted(addresses, Parting(zone="a"), seed=s).first(20) for s in "xy")
    assert len(first.keys() & second.keys()) < 5


def test_paused_ones_stay_in_use_and_are_made_up_for():
    addresses = {address: {} for address in ADDRESSES[:100]}
    subset = parted(addresses, WHOLE)
    before = list(subset.first(20))
    for address in before[:5]:
        subset.put(address, {"paused": True})
    found = list(subset.first(20))
    assert set(before) < set(found) and len(found) == 25
    for address in before[:5]:
        subset.put(address, {})
    assert list(subset.first(20)) == before


def test_if_most_are_paused_the_others_are_used():
    addresses = {a: {"weight": 0} if n % 10 else {} for n, a in enumerate(ADDRESSES[:500])}
    found = parted(addresses, WHOLE).first(20)
    assert sum(not addresses[address] for address in found) == 20
    assert len(found) == 40
    everybody = parted({a: {"paused": True} for a in ADDRESSES[:100]}, WHOLE)
    assert len(everybody.first(20)) == 20
    zoned = parted({a: {"paused": True, "zone": a[-1]} for a in ADDRESSES[:99]}, Parting(zone="1"))
    assert len(zoned.first(20)) == 20


FACTS = st.fixed_dictionaries(
    {"zone": st.sampled_from("abc"), "version": st.sampled_from("12"), "paused": st.booleans()}
)


@given(
    st.lists(st.tuples(st.sampled_from(ADDRESSES[:30]), st.none() | FACTS), max_size=60),
    st.integers(1, 25),
    st.sampled_from([WHOLE, Parting(zone="a"), Parting(("version",)), Parting(("version",), "b")]),
    st.sampled_from([None, 3]),
)
def test_whatever_comes_and_goes_the_subset_is_as_large_as_it_can_be(steps, count, parting, client):
    subset = Subset(SubsetPolicy(count, client), "me", parting)
    known: dict[str, dict] = {}
    for address, facts in steps:
        if facts is None:
            known.pop(address, None)
            subset.remove(address)
        else:
            known[address] = facts
            subset.put(address, facts)
    found = subset.first(count)
    active = {address for address, facts in known.items() if not facts["paused"]}
    assert len(subset) == len(known) and found.keys() <= known.keys()
    assert len(found.keys() & active) == min(count, len(active))
    assert len(found.keys() - active) <= count
    if known:
        assert found
    again = Subset(SubsetPolicy(count, client), "me", parting)
    for address in sorted(known):
        again.put(address, known[address])
    assert again.first(count) == found


def test_a_group_has_instances_in_place_of_paused_ones_and_knows_whom_each_stands_for():
    group = Group("s", endpoint, Subset(SubsetPolicy(4), "me", Parting(zone="a")))
    instances = tuple(Instance("s", a, a, facts) for a, facts in many(a=10, b=90).items())
    group.apply(Listing(instances))
    for one in group.endpoints:
        group.set_ready(one, True)
    assert sorted(e.stands_for for e in group.ready) == [5, 5, 45, 45]
    mine = next(e.instance for e in group.ready if e.address[0] == "a")
    paused = Instance("s", mine.id, mine.address, {"zone": "a", "paused": True})
    turnover = group.apply(Change(put=(paused,)))
    assert [e.address[0] for e in turnover.added] == ["a"] and not turnover.removed
    assert [e.instance for e in turnover.changed] == [paused]
    assert len(group.ready) == 3 and len(group.endpoints) == 5


@pytest.mark.parametrize("zone", ["\ud800", "", None, 7, ["a"], {"a": {}}, "a\0b", "z" * 10_000])
def test_facts_that_make_no_sense_are_parts_like_others(zone):
    addresses = many(a=50, b=50) | {"odd": {"zone": zone, "version": zone, "paused": "yes"}}
    subset = parted(addresses, Parting(("version",), "a"))
    assert len(subset.first(20)) == 20 and "odd" in subset.first(101)
    subset.remove("odd")
    assert len(subset) == 100 and len(subset.first(20)) == 20
