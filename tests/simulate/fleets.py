"""Small fleets for the tests."""

from collections.abc import Callable
from typing import Any

from seawall.testing.simulate import Client, Fleet, Replica, Result

NO_RETRIES = {"methodConfig": [{"name": [{}], "seawall": {"retries": False}}]}


def one(replica: Replica, *, rate: float = 10.0, **more: Any) -> Fleet:
    """One replica, one client that calls it in even steps, no delay of the network."""
    settings: dict[str, Any] = {"arrivals": "uniform", "deadline": 1.0} | more
    return Fleet([replica], [Client(rate, **settings)], delay=0.0)


def codes(result: Result) -> list[str]:
    """How the calls ended, in the order in which they started."""
    return [record.code for record in sorted(result.records, key=lambda record: record.started)]


def at_rest(fleet: Fleet) -> None:
    """Assert that the policies hold nothing that belongs to a call."""
    for client in fleet.clients:
        assert not client.active
        for endpoint in client.pipeline.group.endpoints:
            assert endpoint.outstanding == 0
            assert endpoint.breaker.probeable


def with_faults(fleet: Fleet, *faults: tuple[float, Callable[..., object], Any]) -> Fleet:
    for when, action, argument in faults:
        fleet.at(when, action, *(() if argument is None else (argument,)))
    return fleet
