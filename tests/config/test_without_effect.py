"""What would be taken and do nothing is refused: somebody meant something by it."""

import pytest

from seawall.call import Method
from seawall.config import parse_service_config
from seawall.errors import ConfigError
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.bulkhead import BulkheadPolicy

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
READ = Method.from_path("/a.B/C")


def entry(own: dict, **fields) -> dict:
    return {"methodConfig": [{"name": [{"service": "a.B"}], "seawall": own, **fields}]}


def breaker(**fields) -> dict:
    return {"seawall": {"breaker": fields}}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (
            entry({"bulkhead": {"maxConcurrent": 1, "maxWait": "1s"}}),
            "methodConfig[0].seawall.bulkhead.maxWait: has no effect without maxQueue; give both, "
            "or neither",
        ),
        (
            breaker(minimumCalls=3),
            "seawall.breaker.minimumCalls: has no effect without failureRatio; give both, or "
            "neither",
        ),
        (
            breaker(window="5s", failureRatio=None),
            "seawall.breaker.window: has no effect without failureRatio; give both, or neither",
        ),
        (
            breaker(openTime="60s"),
            "seawall.breaker.openTime: is above maxOpenTime (60 s > 30 s); give a maxOpenTime of "
            "as much, or more",
        ),
        (
            breaker(openTime="2s", maxOpenTime="1.5s"),
            "seawall.breaker.openTime: is above maxOpenTime (2 s > 1.5 s); give a maxOpenTime of "
            "as much, or more",
        ),
        (
            breaker(maxOpenTime="0.5s"),
            "seawall.breaker.maxOpenTime: is below openTime (0.5 s < 1 s); give an openTime of as "
            "much, or less",
        ),
        (
            entry({"retries": False}, retryPolicy=RETRY),
            "methodConfig[0].seawall.retries: can't be false beside a retryPolicy: leave one out",
        ),
        (
            entry({"retries": False, "retryNonIdempotent": True}),
            "methodConfig[0].seawall.retries: can't be false beside retryNonIdempotent: leave one "
            "out",
        ),
    ],
)
def test_a_field_without_effect_is_refused_with_its_mend(document, error):
    with pytest.raises(ConfigError) as caught:
        parse_service_config(document)
    assert str(caught.value) == error


def test_what_has_an_effect_is_taken():
    queued = entry({"bulkhead": {"maxConcurrent": 1, "maxQueue": 0, "maxWait": "1s"}})
    policy = parse_service_config(queued).for_method(READ)
    assert policy.bulkhead == BulkheadPolicy(1, 0, 1.0), "the queue may be shut for a while"
    equal = parse_service_config(breaker(openTime="60s", maxOpenTime="60s"))
    assert equal.breaker == BreakerPolicy(open_time=60.0, max_open_time=60.0)
    rated = parse_service_config(breaker(failureRatio=0.5, minimumCalls=3, window="5s"))
    assert rated.breaker == BreakerPolicy(failure_ratio=0.5, minimum_calls=3, window=5.0)
    for own, attempts in (({"retries": True}, 4), ({"retries": None}, 4)):
        taken = parse_service_config(entry(own, retryPolicy=RETRY)).for_method(READ)
        assert taken.retry.max_attempts == attempts
    off = entry({"retries": False, "retryNonIdempotent": False})
    assert parse_service_config(off).for_method(READ).retry.max_attempts == 1


@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": []}])
def test_an_entry_without_names_is_read_and_applies_to_nothing_as_in_grpc(name):
    config = parse_service_config({"methodConfig": [{**name, "timeout": "1s"}]})
    assert not config.methods
    with pytest.raises(ConfigError, match=r"methodConfig\[0\].timeout: must be a duration"):
        parse_service_config({"methodConfig": [{**name, "timeout": 1}]})
