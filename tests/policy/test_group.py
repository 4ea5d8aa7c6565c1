"""Updates of a service's list, by the change and as a whole."""

from hypothesis import given
from hypothesis import strategies as st

from seawall.balancer.latency import PeakEwma
from seawall.call import Change, Endpoint, Instance, Listing
from seawall.policy.breaker import Breaker, BreakerPolicy
from seawall.policy.group import Group

SERVICE = "shop.v1.Inventory"


def make_group() -> Group:
    def make(instance: Instance) -> Endpoint:
        breaker = Breaker(BreakerPolicy(2), lambda old, new: group.trip(endpoint))
        endpoint = Endpoint(instance, breaker, PeakEwma())
        return endpoint

    group = Group(SERVICE, make)
    return group


def one(id_: str, address: str = "", **facts) -> Instance:
    return Instance(SERVICE, id_, address or f"10.0.0.1:{id_}", facts)


def test_a_change_touches_only_what_it_names():
    group = make_group()
    group.apply(Listing((one("1"), one("2"), one("3"))))
    before = {e.instance.id: e for e in group.endpoints}
    turnover = group.apply(Change(put=(one("4"),), left=frozenset("1"), lost=frozenset("2")))
    assert [e.instance.id for e in turnover.added] == ["4"]
    assert set(turnover.removed) == {before["1"], before["2"]}
    assert {e.instance.id for e in group.endpoints} == {"3", "4"}
    assert before["3"] in group.endpoints
    assert len(group) == 2


def test_an_update_that_says_nothing_new_changes_nothing():
    group = make_group()
    listing = Listing((one("1", weight=2), one("2")))
    group.apply(listing)
    assert not group.apply(listing)
    assert not group.apply(Change(put=(one("1", weight=2),), left=frozenset({"9"})))


def test_other_facts_leave_the_endpoint_as_it_is():
    group = make_group()
    group.apply(Listing((one("1"),)))
    (endpoint,) = group.endpoints
    group.set_ready(endpoint, True)
    endpoint.outstanding = 3
    turnover = group.apply(Change(put=(one("1", weight=0.5),)))
    assert turnover.changed == [endpoint] and not turnover.added and not turnover.removed
    assert endpoint.share == 2 and endpoint.outstanding == 3 and group.ready == (endpoint,)


def test_a_paused_endpoint_stays_connected_and_is_not_offered():
    group = make_group()
    group.apply(Listing((one("1"), one("2"))))
    first, second = group.endpoints
    for endpoint in (first, second):
        group.set_ready(endpoint, True)
    group.apply(Change(put=(one("1", paused=True),)))
    assert group.ready == (second,) and first.ready
    group.apply(Change(put=(one("2", weight=0),)))
    assert group.ready == ()
    group.apply(Change(put=(one("1"), one("2", weight=1))))
    assert set(group.ready) == {first, second}


def test_one_that_connects_while_it_is_paused_is_offered_when_it_is_resumed():
    group = make_group()
    group.apply(Listing((one("1", paused=True),)))
    (endpoint,) = group.endpoints
    assert group.set_ready(endpoint, True)
    assert group.ready == ()
    group.apply(Change(put=(one("1"),)))
    assert group.ready == (endpoint,)


def test_weights_that_are_none_count_as_one():
    for weight in (None, "2", -1, float("inf"), float("nan"), 10**400, 5e-324, True, [], {}):
        endpoint = Endpoint(one("1", weight=weight), None, None)
        assert endpoint.share == 1 and not endpoint.paused


def test_one_that_cannot_be_an_endpoint_does_not_stop_the_others():
    real = make_group()
    group = Group(SERVICE, lambda found: None if found.id == "bad" else real._make(found))
    turnover = group.apply(Listing((one("1"), one("bad", "a:1"), one("2"))))
    assert [e.instance.id for e in turnover.added] == ["1", "2"]
    group.apply(Change(lost=frozenset({"bad"}), put=(one("good", "a:1"),)))
    assert {e.instance.id for e in group.endpoints} == {"1", "2", "good"}


def test_an_id_that_moved_is_another_endpoint():
    group = make_group()
    group.apply(Listing((one("1"),)))
    (old,) = group.endpoints
    turnover = group.apply(Change(put=(one("1", "10.0.0.2:1"),)))
    assert turnover.removed == [old]
    assert [e.address for e in turnover.added] == ["10.0.0.2:1"]
    assert len(group) == 1


def test_a_process_that_is_back_on_its_port_is_a_new_endpoint_and_the_old_entry_harmless():
    group = make_group()
    group.apply(Listing((one("old", "a:1", started_at=1.0),)))
    (old,) = group.endpoints
    turnover = group.apply(Change(put=(one("new", "a:1", started_at=2.0),)))
    assert turnover.removed == [old] and [e.instance.id for e in turnover.added] == ["new"]
    assert group.endpoint_of(one("old", "a:1")) is None
    (new,) = group.endpoints
    assert not group.apply(Change(lost=frozenset({"old"})))
    assert group.endpoints == [new] and group.endpoint_of(new.instance) is new


def test_a_restarted_process_is_a_new_endpoint_under_the_same_id_too():
    group = make_group()
    group.apply(Listing((one("1", started_at=1.0),)))
    (old,) = group.endpoints
    turnover = group.apply(Change(put=(one("1", started_at=2.0),)))
    assert turnover.removed == [old] and len(turnover.added) == 1
    assert len(group) == 1 and group.endpoints == turnover.added


def test_starts_that_make_no_sense_count_as_unknown():
    for started in (10**400, float("nan"), float("-inf"), -5, "now", [], None):
        group = make_group()
        group.apply(Listing((one("1", "a:1", started_at=started),)))
        group.apply(Change(put=(one("2", "a:1", started_at=1.0),)))
        assert [e.instance.id for e in group.endpoints] == ["2"]


def test_endpoints_of_closed_breakers_and_removed_ones_are_not_tripped():
    group = make_group()
    group.apply(Listing((one("1"), one("2"))))
    first, second = group.endpoints
    for endpoint in (first, second, first, second):
        endpoint.breaker.failed(0.0)
    assert group.tripped == {first, second}
    group.apply(Change(left=frozenset("1")))
    assert group.tripped == {second}
    first.breaker.acquire(5.0)  # a late answer of a call that was under way there
    assert group.tripped == {second}
    second.breaker.acquire(5.0)
    second.breaker.succeeded()
    assert not group.tripped


IDS = st.sampled_from("abcdef")
INSTANCES = st.builds(
    lambda id_, port, started, paused: one(
        id_, f"10.0.0.1:{port}", started_at=started, **({"paused": True} if paused else {})
    ),
    IDS,
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
)
UPDATES = st.one_of(
    st.builds(lambda found: Listing(tuple({i.id: i for i in found}.values())), st.lists(INSTANCES)),
    st.builds(
        lambda put, left, lost: Change(tuple({i.id: i for i in put}.values()), left - lost, lost),
        st.lists(INSTANCES, max_size=3),
        st.frozensets(IDS, max_size=2),
        st.frozensets(IDS, max_size=2),
    ),
)


@given(st.lists(st.tuples(UPDATES, st.booleans()), max_size=12))
def test_changes_add_up_to_what_a_listing_would_say(updates):
    group = make_group()
    known: dict[str, Instance] = {}
    for update, connect in updates:
        group.apply(update)
        if isinstance(update, Listing):
            known = {i.id: i for i in update.instances}
        else:
            known = {k: v for k, v in known.items() if k not in update.left | update.lost}
            known |= {i.id: i for i in update.put}
        for endpoint in group.endpoints:
            group.set_ready(endpoint, connect)
        assert len(group) == len(known)
        assert {e.address for e in group.endpoints} == {i.address for i in known.values()}
        for endpoint in group.endpoints:
            rivals = [i for i in known.values() if i.address == endpoint.address]
            assert endpoint.instance in rivals
            assert endpoint.instance.metadata["started_at"] == max(
                i.metadata["started_at"] for i in rivals
            )
        wanted = {e for e in group.endpoints if e.ready and not e.paused}
        assert set(group.ready) == wanted and len(group.ready) == len(wanted)


def test_a_weight_decides_between_those_that_tie():
    from random import Random

    from seawall.balancer.least_loaded import LeastLoaded

    group = make_group()
    group.apply(Listing((one("1", weight=3), one("2"))))
    for endpoint in group.endpoints:
        group.set_ready(endpoint, True)
    picker = LeastLoaded(Random(7).random, lambda: 0.0)
    picks = [picker.pick(group.ready, None).instance.id for _ in range(4000)]
    assert 0.72 < picks.count("1") / len(picks) < 0.78
    heavy = group.endpoint_of(one("1"))
    heavy.outstanding, group.endpoint_of(one("2")).outstanding = 2, 1
    assert picker.pick(group.ready, None) is heavy
    heavy.outstanding = 4
    assert picker.pick(group.ready, None) is not heavy


def test_other_facts_make_another_snapshot():
    group = make_group()
    group.apply(Listing((one("1"), one("2"))))
    for endpoint in group.endpoints:
        group.set_ready(endpoint, True)
    before = group.ready
    group.apply(Change(put=(one("1", version="2"),)))
    assert group.ready == before and group.ready is not before
    before = group.ready
    group.apply(Change(put=(one("1", version="2"),)))
    assert group.ready is before
