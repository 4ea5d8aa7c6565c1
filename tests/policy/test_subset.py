from collections import Counter
from statistics import pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Change, Endpoint, Instance
from seawall.policy.breaker import Breaker, BreakerPolicy
from seawall.policy.group import Group
from seawall.policy.subset import Subset, SubsetPolicy, van_der_corput
from tests.policy.support import listing

ADDRESSES = [f"10.0.{n // 250}.{n % 250}:80" for n in range(1000)]


DEFAULT = SubsetPolicy()


def subset_of(addresses, policy=DEFAULT, seed="me"):
    subset = Subset(policy, seed)
    for address in addresses:
        subset.add(address)
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
    subset.add(gone)
    assert set(subset.first(5)) == before


def test_the_order_they_came_in_does_not_matter():
    assert subset_of(ADDRESSES).first(9) == subset_of(reversed(ADDRESSES)).first(9)


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
