"""A whole fleet: every call ends once, and the same seed gives the same result."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.balancer.hot_cold import HotCold
from seawall.events import BreakerChanged
from seawall.testing.simulate import Admission, Client, Fleet, Replica, Shedding, gamma
from tests.simulate.fleets import at_rest, one

FAULTS = ["slow", "speed", "freeze", "thaw", "fail", "heal", "kill", "restart", "recover"]
BALANCERS = ["least_loaded", "round_robin", "hot_cold", "ring_hash_experimental"]
faults = st.lists(
    st.tuples(st.floats(0, 4), st.sampled_from(FAULTS), st.integers(0, 5), st.floats(0.05, 20)),
    max_size=12,
)


def play(fleet: Fleet, happenings) -> None:
    for when, fault, member, factor in happenings:
        replica = fleet.replicas[member]
        arguments = (factor,) if fault in ("slow", "speed") else ()
        fleet.at(when, getattr(replica, fault), *arguments)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(faults, st.sampled_from(BALANCERS), st.booleans(), st.booleans())
def test_every_call_ends_once_and_nothing_is_held(happenings, balancer, idempotent, hedged):
    replicas = [
        Replica(gamma(0.02), workers=2, queue=20, admission=Admission(pushback=0.01)),
        Replica(gamma(0.02), workers=2),
        Replica(gamma(0.02), workers=1, drop_expired=False),
        Replica(0.02),
        Replica(gamma(0.02), workers=1, queue=5, admission=Admission(cost=0.005)),
        Replica(gamma(0.02), workers=1, admission=Shedding()),
    ]
    method = {"name": [{}]} | ({"hedgingPolicy": {"maxAttempts": 3}} if hedged else {})
    config = {"loadBalancingConfig": [{balancer: {}}], "methodConfig": [method]}
    clients = [
        Client(50, deadline=0.5, idempotent=idempotent, arrivals="uniform", keys=10),
        Client(20, deadline=None, idempotent=not idempotent, arrivals="uniform", batch=4),
    ]
    fleet = Fleet(replicas, clients, service_config=config)
    play(fleet, happenings)
    result = fleet.run(3.99)
    # Each call is there, once: uniform arrivals can be counted.
    assert len(result.of("client-0")) == 199 and len(result.of("client-1")) == 76
    assert result.of("client-0").latency(1.0) <= 0.5 + 1e-9
    at_rest(fleet)
    for replica in replicas:
        tally = replica.tally
        ended = tally.answered + tally.failed + tally.refused + tally.dropped + tally.lost
        assert tally.arrived == ended + replica.in_flight


@pytest.mark.parametrize(
    "admission",
    [None, Admission(target=1.0), Admission(target=0.3, cost=0.03), Shedding()],
    ids=["none", "queue", "costly", "shedding"],
)
def test_at_any_time_each_request_is_in_one_state(admission):
    replica = Replica(gamma(0.02), workers=1, queue=40, admission=admission)
    fleet = Fleet([replica], [Client(120, deadline=0.4), Client(40, deadline=0.1)])
    faults = [(1.0, replica.freeze), (1.5, replica.thaw), (2.0, replica.kill)]
    faults += [(2.5, replica.restart), (3.5, replica.freeze), (3.7, replica.kill)]
    for when, fault in [*faults, (4.5, replica.recover)]:
        fleet.at(when, fault)
    missing = []

    def look():
        tally = replica.tally
        ended = tally.answered + tally.failed + tally.refused + tally.dropped + tally.lost
        missing.append(tally.arrived - ended - replica.in_flight)

    for step in range(3000):
        fleet.at(step * 0.002, look)
    fleet.run(6.0)
    assert replica.tally.lost and (replica.tally.refused or admission is None)
    assert set(missing) == {0}


PROGRAM = """
import hashlib, sys
from seawall.testing.simulate.scenarios import built_in
scenario = built_in("sink-hole")
scenario.seconds = 1
config = {"loadBalancingConfig": [{"hot_cold": {}}]}
result = scenario.run(seed=int(sys.argv[1]), service_config=config)
print(len(result), hashlib.sha256(repr(result.records).encode()).hexdigest())
"""


def digest(seed: int, hash_seed: int) -> str:
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", PROGRAM, str(seed)]
    return subprocess.run(
        command, env=environment, capture_output=True, check=True, text=True, timeout=50
    ).stdout


def test_the_same_seed_is_the_same_run_in_any_process_and_another_seed_is_another():
    assert digest(1, 1) == digest(1, 2) != digest(2, 1)


def test_another_policy_meets_the_same_calls_at_the_same_times():
    def starts(balancer):
        config = {"loadBalancingConfig": [{balancer: {}}]}
        fleet = Fleet([Replica(), Replica()], [Client(100)], seed=4, service_config=config)
        return sorted(record.started for record in fleet.run(2.0).records)

    assert starts("round_robin") == starts("least_loaded")


def test_a_rate_can_change_and_stop():
    fleet = one(Replica(), rate=10)
    fleet.at(1.0, fleet.clients[0].change_rate, 100)
    fleet.at(2.0, fleet.clients[0].change_rate, 0)
    seconds = fleet.run(5.0).by_second()
    assert [second.calls for second in seconds] == pytest.approx([10, 100], abs=1)


def test_a_client_can_make_calls_of_several_classes():
    fleet = one(Replica(), rate=100, criticality={"critical": 1, "sheddable": 3})
    result = fleet.run(20.0)
    shares = {
        name: len(result.of(criticality=name)) / len(result) for name in ("critical", "sheddable")
    }
    assert shares == pytest.approx({"critical": 0.25, "sheddable": 0.75}, abs=0.03)
    assert len(result.of("client-0", criticality="sheddable_plus")) == 0


def test_many_clients_use_a_subset_each():
    replicas = [Replica() for _ in range(60)]
    clients = [Client(20) for _ in range(10)]
    fleet = Fleet(replicas, clients)
    used = {len(client.pipeline.group.ready) for client in fleet.clients}
    assert used == {20}
    in_use = {one.address for client in fleet.clients for one in client.pipeline.group.ready}
    assert len(in_use) > 50
    assert fleet.run(2.0).success() == 1.0


def test_who_is_down_is_made_up_for_from_beyond_the_subset():
    replicas = [Replica() for _ in range(30)]
    fleet = Fleet(replicas, [Client(20)])
    group = fleet.clients[0].pipeline.group
    for endpoint in group.ready[:5]:
        fleet.at(1.0, next(r for r in replicas if r.name == endpoint.address).kill)
    result = fleet.run(5.0)
    assert len(group.ready) == 20 and len(group.endpoints) == 25
    assert result.success(2.0) == 1.0


def test_a_listener_hears_what_the_policies_tell():
    heard = []
    replica = Replica()
    fleet = Fleet([replica], [Client(100)], listener=heard.append)
    fleet.at(1.0, replica.fail, "INTERNAL")
    fleet.run(2.0)
    assert BreakerChanged("simulated.Service", "replica-0", "closed", "open") in heard


def test_a_fleet_runs_once():
    fleet = one(Replica())
    fleet.run(0.1)
    with pytest.raises(RuntimeError, match="make another"):
        fleet.run(0.1)


def test_names_must_differ_and_clients_have_one_fleet():
    with pytest.raises(ValueError, match="a name of its own"):
        Fleet([Replica(name="a"), Replica(name="a")], [Client(1)])
    client = Client(1)
    Fleet([Replica()], [client])
    with pytest.raises(ValueError, match="each fleet needs its own"):
        Fleet([Replica()], [client])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": -1}, "rate"),
        ({"rate": 1, "arrivals": "bursts"}, "arrivals"),
        ({"rate": 1, "batch": 0}, "batch"),
        ({"rate": 1, "keys": -1}, "keys"),
        ({"rate": 1, "criticality": {"vital": 1}}, "criticality must be one of"),
        ({"rate": 1, "criticality": {"critical": 0}}, "shares above 0"),
        ({"rate": 1, "criticality": {}}, "shares above 0"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Client(**wrong)


def test_a_service_config_that_makes_no_sense_is_refused_by_its_field():
    with pytest.raises(ValueError, match=r"seawall\.retryBudget\.ratio"):
        Fleet([Replica()], [Client(1)], service_config={"seawall": {"retryBudget": {"ratio": 2}}})


def test_records_are_plain_data():
    result = one(Replica()).run(0.5)
    assert json.loads(json.dumps([record._asdict() for record in result.records]))


@pytest.mark.parametrize(("replicas", "told"), [(12, True), (3, False)])
def test_replicas_tell_their_load_to_those_who_ask(monkeypatch, replicas, told):
    """``hot_cold`` asks from 8 candidates on."""
    reports = []
    keep = HotCold.report

    def report(self, endpoint, load, now):
        reports.append(load)
        keep(self, endpoint, load, now)

    monkeypatch.setattr(HotCold, "report", report)
    config = {"loadBalancingConfig": [{"hot_cold": {}}]}
    members = [Replica(0.01, workers=1) for _ in range(replicas)]
    result = Fleet(members, [Client(500)], service_config=config).run(2.0)
    assert len(reports) == (len(result) if told else 0)
    assert all(load.latency > 0.0099 for load in reports)
    if told:
        assert {0, 1} <= {load.in_flight for load in reports}, "others wait there, or nobody"
