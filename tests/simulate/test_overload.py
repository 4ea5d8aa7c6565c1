"""What the gate promises, with the production clients, for handlers that compute.

2.3 ms each, so 435 requests a second; 15 % of the calls are critical, the others sheddable.
"""

import pytest

from seawall.testing.simulate import Client, Fleet, Replica, Result, Shedding, gamma
from tests.simulate.fleets import at_rest

CAPACITY = 1 / 0.0023
CLASSES = {"critical": 15, "sheddable": 85}
PLAIN = {
    "methodConfig": [{"name": [{}], "seawall": {"retries": False}}],
    "seawall": {"breaker": {"consecutiveFailures": 1_000_000}},
}
"""No retries and no breakers, which relieve a server too."""


def overloaded(times: float, seed: int = 1, *, clients: int = 1, sheds: bool = True, config=None):
    """3 s of 70 % of the capacity, 10 s of ``times`` as much, 5 s of 70 % again."""
    replica = Replica(gamma(0.0023, 0.15), workers=1, admission=Shedding() if sheds else None)
    calm, more = (share * CAPACITY / clients for share in (0.7, times))
    callers = [Client(calm, deadline=0.5, criticality=CLASSES) for _ in range(clients)]
    fleet = Fleet([replica], callers, seed=seed, service_config=config)
    for caller in callers:
        fleet.at(3.0, caller.change_rate, more)
        fleet.at(13.0, caller.change_rate, calm)
    result = fleet.run(18.0)
    at_rest(fleet)
    assert replica.in_flight == 0
    return result


def assert_kept(result: Result, *, settled: float) -> None:
    """All is well before and 2 s after; in between the capacity is used, for the critical first;
    those are served from ``settled`` on."""
    critical = result.of(criticality="critical")
    assert result.success(0.0, 3.0) == 1.0
    assert result.goodput(4.0, 13.0) >= 0.8 * CAPACITY
    assert critical.success(settled, 13.0) >= 0.985
    assert result.success(15.0) == 1.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("times", [2, 5])
def test_one_client(times, seed):
    assert_kept(overloaded(times, seed), settled=4.0)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("times", [2, 5])
def test_many_clients(times, seed):
    """Each learns for itself: at 5 times the load it takes them a second more."""
    result = overloaded(times, seed, clients=20)
    assert_kept(result, settled=4.0 if times == 2 else 5.0)
    assert result.of(criticality="critical").success(4.0, 13.0) >= 0.95


def test_who_is_kept_back_is_not_sent():
    calls = overloaded(5).of(criticality="sheddable")
    assert calls.attempts_per_call(4.0, 13.0) < 0.3


@pytest.mark.parametrize("times", [2, 5])
def test_without_the_gate_the_goodput_collapses(times):
    """The control: else the tests above would prove nothing."""
    assert overloaded(times, config=PLAIN).goodput(4.0, 13.0) >= 0.8 * CAPACITY
    assert overloaded(times, sheds=False, config=PLAIN).goodput(4.0, 13.0) < 0.25 * CAPACITY


@pytest.mark.parametrize("times", [2, 5])
def test_breakers_and_budgets_alone_save_no_critical_calls(times):
    assert overloaded(times, sheds=False).of(criticality="critical").success(4.0, 13.0) < 0.5


def test_under_its_capacity_nothing_is_refused():
    replica = Replica(gamma(0.0023, 0.15), workers=1, admission=Shedding())
    result = Fleet([replica], [Client(0.85 * CAPACITY, deadline=0.5)]).run(10.0)
    assert result.success() == 1.0
    assert replica.tally.refused == 0


def test_a_moment_in_which_the_loop_is_blocked_is_no_overload():
    replica = Replica(0.0023, workers=1, admission=Shedding())
    fleet = Fleet([replica], [Client(100, deadline=1.0)])
    for when in range(1, 9):
        fleet.at(when, replica.freeze)
        fleet.at(when + 0.2, replica.thaw)
    assert fleet.run(10.0).success() == 1.0
    assert replica.tally.refused == 0


def test_a_process_that_has_restarted_begins_with_an_open_gate():
    replica = Replica(0.0023, workers=1, admission=Shedding())
    client = Client(2 * CAPACITY, deadline=0.5, criticality=CLASSES)
    fleet = Fleet([replica], [client])
    seen = []
    fleet.at(4.9, lambda: seen.append(replica.tally.refused))
    fleet.at(5.0, replica.kill)
    fleet.at(5.1, client.change_rate, 100)
    fleet.at(6.0, replica.restart)
    fleet.at(6.0, lambda: seen.append(replica.tally.refused))
    fleet.run(12.0)
    assert 0 < seen[0] <= seen[1] == replica.tally.refused
    assert replica.in_flight == 0


def test_a_process_that_has_died_measures_no_more():
    replica = Replica(0.0023, workers=1, admission=Shedding())
    client = Client(3 * CAPACITY, deadline=0.5, criticality=CLASSES, service_config=PLAIN)
    fleet = Fleet([replica], [client])
    due = []
    fleet.at(5.0, client.change_rate, 0)
    fleet.at(5.0, replica.kill)
    fleet.at(5.1, replica.restart)
    fleet.at(5.8, lambda: due.extend(action for _, _, action, _ in fleet.engine._queue if action))
    fleet.run(6.0)
    assert replica.tally.refused and not due


def test_refusals_say_what_they_are_told_to_say():
    """Without pushback no client keeps back."""
    silent = Replica(0.0023, workers=1, admission=Shedding(pushback=None, cost=0.0))
    client = Client(3 * CAPACITY, deadline=0.5, criticality=CLASSES)
    result = Fleet([silent], [client], service_config=PLAIN).run(5.0)
    assert result.attempts_per_call() == 1.0
    assert silent.tally.refused == pytest.approx(result.errors()["RESOURCE_EXHAUSTED"], abs=5)


@pytest.mark.parametrize("workers", [None, 2])
def test_an_event_loop_is_one_worker(workers):
    with pytest.raises(ValueError, match=r"Shedding\(\) needs workers=1"):
        Replica(workers=workers, admission=Shedding())
