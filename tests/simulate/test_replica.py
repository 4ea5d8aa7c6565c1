"""What may be wrong with a replica, one thing at a time."""

import pytest

from seawall.testing.simulate import Admission, Client, Fleet, Replica
from tests.simulate.fleets import NO_RETRIES, at_rest, codes, one, with_faults


def latencies(result):
    return [r.latency for r in sorted(result.records, key=lambda r: r.started)]


def test_a_call_takes_the_work_and_the_network_twice():
    fleet = Fleet([Replica(0.02)], [Client(10, arrivals="uniform")], delay=0.003)
    result = fleet.run(1.0)
    assert latencies(result) == pytest.approx([0.026] * len(result))


def test_what_workers_have_no_hands_for_waits_its_turn():
    result = one(Replica(0.1, workers=1), rate=20, batch=2).run(0.15)
    assert latencies(result) == pytest.approx([0.1, 0.2])


def test_slow_and_well_again_applies_to_work_in_hand():
    replica = Replica(0.1)
    fleet = with_faults(one(replica, rate=10), (0.15, replica.slow, 4), (0.25, replica.slow, 1))
    # The call of 0.1 s: half at full speed, a quarter at a fourth of it, the rest at full speed.
    assert latencies(fleet.run(0.15)) == pytest.approx([0.05 + 0.1 + 0.025])


def test_frozen_answers_nothing_and_goes_on_where_it_was():
    replica = Replica(0.1)
    fleet = with_faults(
        one(replica, rate=10), (0.15, replica.freeze, None), (0.55, replica.thaw, None)
    )
    # That of 0.1 s is half done; that of 0.2 s waits at the door.
    assert latencies(fleet.run(0.25)) == pytest.approx([0.5, 0.45])
    at_rest(fleet)


def test_frozen_beyond_the_deadline_is_a_failed_call_and_no_work():
    replica = Replica(0.1)
    fleet = with_faults(
        one(replica, deadline=0.2), (0.01, replica.freeze, None), (2, replica.thaw, None)
    )
    result = fleet.run(0.35)
    assert codes(result) == ["DEADLINE_EXCEEDED"] * 3
    assert replica.tally.dropped >= 2 and replica.tally.answered == 0
    at_rest(fleet)


def test_without_drop_expired_the_work_is_done_for_nobody():
    replica = Replica(0.1, drop_expired=False)
    fleet = with_faults(
        one(replica, deadline=0.2), (0.01, replica.freeze, None), (0.5, replica.thaw, None)
    )
    fleet.engine.at(3.0, int)
    assert codes(fleet.run(1.05))[:3] == ["DEADLINE_EXCEEDED"] * 3
    assert replica.tally.dropped == 0 and replica.tally.answered == replica.tally.arrived


def test_a_frozen_connection_is_found_out_by_its_keep_alive():
    replica = Replica(0.01)
    fleet = one(replica, rate=1, deadline=30.0, service_config=NO_RETRIES)
    with_faults(fleet, (0.5, replica.freeze, None), (20.5, replica.thaw, None))
    result = fleet.run(25.5)
    first = min(result.records, key=lambda record: record.started)
    assert first.code == "UNAVAILABLE" and 2.0 <= 0.5 + first.latency <= 7.5
    # Then nothing is connected until it is thawed, and all is well soon after.
    assert codes(result)[-3:] == ["OK"] * 3
    at_rest(fleet)


def test_failing_takes_its_time_and_can_hit_a_share():
    replica = Replica(0.05)
    fleet = with_faults(one(replica, rate=100, service_config=NO_RETRIES))
    fleet.at(0.0, replica.fail, "INTERNAL", 0.002, 0.25)
    result = fleet.run(20.0)
    failed = [record for record in result.records if record.code == "INTERNAL"]
    assert len(failed) / len(result) == pytest.approx(0.25, abs=0.05)
    assert all(record.latency == pytest.approx(0.002) for record in failed)
    assert replica.tally.failed == len(failed)


def test_a_dead_process_breaks_what_is_in_hand_and_is_back_after_its_restart():
    replica = Replica(0.2)
    fleet = one(replica, rate=10, service_config=NO_RETRIES)
    with_faults(fleet, (0.25, replica.kill, None), (1.0, replica.restart, None))
    result = fleet.run(4.0)
    ends = codes(result)
    assert ends[:2] == ["UNAVAILABLE", "UNAVAILABLE"] and replica.tally.lost == 2
    assert "UNAVAILABLE" in ends[2:8], "connections are refused while it is dead"
    assert set(ends[-20:]) == {"OK"}, "gRPC has reconnected within 2 s and a bit"
    at_rest(fleet)


def test_a_full_queue_refuses():
    replica = Replica(0.1, workers=1, queue=1)
    result = one(replica, rate=30, batch=3, service_config=NO_RETRIES).run(0.15)
    assert sorted(codes(result)) == ["OK", "OK", "RESOURCE_EXHAUSTED"]
    assert replica.tally.refused == 1


def test_admission_refuses_what_would_wait_too_long():
    replica = Replica(0.1, workers=1, admission=Admission(target=0.25))
    fleet = one(replica, rate=5, batch=5, deadline=5.0, service_config=NO_RETRIES)
    first, second = fleet.run(2.5).by_second()
    assert first.calls == second.calls == 5
    assert first.errors == {}, "it has seen no request yet, so it can't tell how long they take"
    assert second.errors == {"RESOURCE_EXHAUSTED": 2}, "the fourth would wait for 0.3 s"


def test_a_refusal_can_cost_and_can_ask_to_be_tried_again():
    replica = Replica(0.1, workers=1, queue=0, admission=Admission(pushback=0.15, cost=0.01))
    result = one(replica, rate=4, batch=2, idempotent=False).run(0.8)
    (first, second) = sorted(result.records, key=lambda record: record.latency)
    assert first.latency == pytest.approx(0.1)
    # The refusal waits for the worker, then the client for its pushback.
    assert second.latency == pytest.approx(0.1 + 0.01 + 0.15 + 0.1) and second.attempts == 2


def test_a_replica_belongs_to_one_fleet():
    replica = Replica()
    one(replica)
    with pytest.raises(ValueError, match="each fleet needs its own"):
        one(replica)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"queue": -1}])
def test_a_replica_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Replica(**wrong)


def test_speed_must_be_above_zero():
    for wrong in (Replica().speed, Replica().slow):
        with pytest.raises(ValueError, match="freeze"):
            wrong(0)
