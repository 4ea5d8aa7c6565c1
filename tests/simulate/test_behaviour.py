"""What the production defaults promise, under the faults that are known to bring fleets down."""

from collections.abc import Mapping
from typing import Any

from seawall.testing.simulate import Admission, Client, Fleet, Replica, Result, gamma
from seawall.testing.simulate.scenario import Scenario
from seawall.testing.simulate.scenarios import BUILT_IN


def play(name: str, seconds: float, share: float = 1.0) -> Result:
    """A built-in scenario under the defaults, no longer than is looked at, and with that share of
    its replicas and clients."""
    return Scenario({**smaller(BUILT_IN[name], share), "seconds": seconds}).run()


def smaller(document: Mapping[str, Any], share: float) -> dict[str, Any]:
    members = {
        kind: [{**one, "count": round(one.get("count", 1) * share)} for one in document[kind]]
        for kind in ("replicas", "clients")
    }
    return {**document, **members}


def test_there_is_no_retry_storm_after_a_brown_out():
    result = play("retry-storm", 34.0, share=0.5)
    assert result.success(20, 30) > 0.25, "capacity is 37 % of the load"
    assert result.success(32) >= 0.99
    assert result.attempts_per_call() < 1.1


def test_without_a_budget_there_would_be_one():
    """The scenario shows what it is for: else the test above would prove nothing."""
    storm = {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "DEADLINE_EXCEEDED"],
                    "perAttemptRecvTimeout": "0.25s",
                },
            }
        ],
        "seawall": {
            "retryBudget": {"ratio": 1, "minRetriesPerSecond": 1e6},
            "breaker": {"consecutiveFailures": 1_000_000},
        },
    }
    document = smaller(BUILT_IN["retry-storm"], 0.5)
    document["replicas"][0]["dropExpired"] = False
    document["happenings"] = [{**document["happenings"][0], "at": 5, "for": 5}]
    document["seconds"] = 20
    result = Scenario(document).run(1, storm)
    assert result.success(0, 4) == 1.0
    assert result.success(15, 20) < 0.5, "5 s after the end of the brown-out"


def test_a_sink_hole_does_not_swallow_the_traffic():
    result = play("sink-hole", 13.0)
    assert 1 - result.success(5) < 0.003


def test_one_frozen_of_five_fails_no_idempotent_call():
    result = play("one-frozen", 22.0)
    assert result.errors() == {}
    assert result.attempts_per_call() < 1.01


def test_one_slow_of_five_fails_no_idempotent_call():
    result = play("one-slow", 22.0)
    assert result.errors() == {}
    assert result.latency(0.99) < 0.1


def test_linkerds_scenario():
    """By balancing alone: the method is not idempotent, and nothing is hedged."""
    result = play("linkerd", 40.0)
    assert result.success() >= 0.9998
    assert result.latency(0.999) < 0.01


def test_overload_leaves_the_capacity_to_those_who_are_served():
    result = play("overload", 22.0, share=0.5)
    assert result.goodput(10, 20) > 0.95 * 1000
    assert result.success(21) == 1.0


def test_antagonists():
    assert play("antagonists", 1.5).success(within=0.1) > 0.98


def test_in_an_overload_the_sheddable_calls_pay():
    """3 times what 5 replicas can do, a quarter of it critical."""
    replicas = [
        Replica(gamma(0.01), workers=2, admission=Admission(pushback=0.1)) for _ in range(5)
    ]
    critical = Client(rate=750, deadline=1.0)
    sheddable = Client(rate=2250, deadline=1.0, options={"criticality": "sheddable"})
    fleet = Fleet(replicas, [critical, sheddable])
    fleet.run(10)

    def good(client):
        counted = [record for record in client.records if record.started >= 2.0]
        return sum(record.code == "OK" for record in counted) / 8.0

    assert good(critical) >= 0.99 * 750
    assert good(critical) + good(sheddable) >= 0.9 * 1000
