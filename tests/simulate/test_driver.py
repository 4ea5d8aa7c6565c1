"""The production driver and policies, performed in virtual time."""

import pytest

from seawall.balancer.round_robin import RoundRobin
from seawall.policy.plan import Sleep
from seawall.testing.simulate import Client, Fleet, Replica
from tests.simulate.fleets import NO_RETRIES, at_rest, codes, one

ROUND_ROBIN = {"loadBalancingConfig": [{"round_robin": {}}]}


def pair(first: Replica, second: Replica, **more) -> Fleet:
    """Two replicas that get calls in turn."""
    settings = {"arrivals": "uniform", "deadline": 0.9, "service_config": ROUND_ROBIN} | more
    return Fleet([first, second], [Client(10, **settings)], delay=0.0)


def test_a_call_ends_at_its_deadline():
    result = one(Replica(5.0), deadline=0.5, idempotent=False).run(0.25)
    assert codes(result) == ["DEADLINE_EXCEEDED"] * 2
    # gRPC rounds its timeout up, so the driver asks for 1 ms less.
    assert {round(record.latency, 6) for record in result.records} == {0.499}


def test_without_a_deadline_the_default_of_5_s_holds():
    result = one(Replica(60.0), deadline=None, idempotent=False).run(0.15)
    assert result.latency(1.0) == pytest.approx(4.99)


def test_an_attempt_over_its_share_goes_on_beside_the_next_and_the_first_answer_wins():
    slow, well = Replica(0.4), Replica(0.35)
    result = pair(slow, well).run(0.85)
    assert set(codes(result)) == {"OK"}
    kept = [record for record in result.records if record.attempts == 2]
    # A share is 0.3 s: the first attempt is answered at 0.4 s, long before the second.
    assert {round(record.latency, 3) for record in kept} <= {0.35, 0.4}
    assert slow.tally.answered + well.tally.answered >= len(result)


def test_a_frozen_replica_costs_a_share_of_the_deadline():
    frozen, well = Replica(0.01), Replica(0.01)
    fleet = pair(frozen, well)
    frozen.freeze()
    result = fleet.run(0.25)
    assert set(codes(result)) == {"OK"}
    assert result.latency(1.0) == pytest.approx(0.31, abs=0.011)
    at_rest(fleet)


def test_an_attempt_that_is_not_repeatable_is_not_repeated():
    frozen, well = Replica(0.01), Replica(0.01)
    fleet = pair(frozen, well, idempotent=False)
    frozen.freeze()
    assert sorted(set(codes(fleet.run(0.45)))) == ["DEADLINE_EXCEEDED", "OK"]


def test_a_hedge_is_answered_before_the_slow_attempt():
    slow, well = Replica(0.5), Replica(0.01)
    hedged = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {"name": [{}], "hedgingPolicy": {"maxAttempts": 2, "hedgingDelay": "0.05s"}}
        ],
        "seawall": {"hedgingBudget": {"ratio": 1, "minHedgesPerSecond": 100}},
    }
    fleet = pair(slow, well, service_config=hedged)
    result = fleet.run(1.05)
    assert set(codes(result)) == {"OK"}
    assert result.latency(1.0) == pytest.approx(0.06, abs=0.011)
    assert result.attempts_per_call() == pytest.approx(1.5, abs=0.1)
    at_rest(fleet)


def test_a_bulkhead_has_calls_wait_for_their_turn():
    config = {
        "methodConfig": [
            {"name": [{}], "seawall": {"bulkhead": {"maxConcurrent": 1, "maxQueue": 10}}}
        ]
    }
    fleet = one(Replica(0.1), rate=40, batch=4, service_config=config)
    result = fleet.run(0.15)
    assert sorted(round(r.latency, 3) for r in result.records) == [0.1, 0.2, 0.3, 0.4]
    at_rest(fleet)


def test_a_fallback_is_an_answer_and_no_success():
    options = {"fallback": lambda call, failure: failure.code.name}
    result = one(Replica(5.0), deadline=0.1, options=options).run(0.25)
    assert codes(result) == ["OK", "OK"]
    assert result.success() == 0.0


def test_a_fallback_that_needs_a_loop_is_refused_and_the_call_fails():
    async def later(call, failure):
        return 1

    result = one(Replica(5.0), deadline=0.1, options={"fallback": later}).run(0.15)
    assert codes(result) == ["DEADLINE_EXCEEDED"]


def test_calls_wait_for_an_endpoint_and_are_woken_by_it():
    replica = Replica(0.01)
    config = {"methodConfig": [{"name": [{}], "waitForReady": True}]}
    fleet = one(replica, deadline=5.0, service_config=config)
    replica.kill()
    fleet.at(1.0, replica.restart)
    result = fleet.run(0.5)
    assert set(codes(result)) == {"OK"} and result.latency(1.0) > 0.5
    at_rest(fleet)


def test_a_mistake_in_a_policy_is_raised_not_counted(monkeypatch):
    def pick(self, candidates, call):
        raise LookupError("nobody")

    monkeypatch.setattr(RoundRobin, "pick", pick)
    with pytest.raises(LookupError, match="nobody"):
        one(Replica(), service_config=ROUND_ROBIN).run(0.2)


def test_a_policy_that_sleeps_for_ever_in_no_time_is_found_out():
    fleet = one(Replica(), service_config=NO_RETRIES)

    def forever(call):
        while True:
            yield Sleep(0.0)

    fleet.clients[0]._handler = forever
    with pytest.raises(RuntimeError, match="stands still"):
        fleet.run(1.0)
