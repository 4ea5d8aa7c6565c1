import json

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Method
from seawall.errors import ConfigError
from seawall.policy.config import load_service_config, parse_service_config

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "aborted", 8],
}


def method(service: str, name: str) -> Method:
    return Method.from_path(f"/{service}/{name}")


def with_method(**fields) -> dict:
    return {"methodConfig": [{"name": [{"service": "a.B"}], **fields}]}


def test_nothing_is_the_defaults():
    config = load_service_config(None)
    policy = config.for_method(method("a.B", "C"))
    assert config.balancer == "least_loaded"
    assert policy.timeout is None and policy.retry.max_attempts == 3


def test_the_most_exact_name_wins_whole():
    config = parse_service_config(
        {
            "methodConfig": [
                {"name": [{}], "timeout": "1s", "waitForReady": True},
                {"name": [{"service": "a.B"}], "timeout": "2s"},
                {"name": [{"service": "a.B", "method": "C"}]},
            ]
        }
    )
    assert config.for_method(method("x.Y", "Z")).timeout == 1.0
    assert config.for_method(method("x.Y", "Z")).wait_for_ready is True
    assert config.for_method(method("a.B", "D")).timeout == 2.0
    assert config.for_method(method("a.B", "D")).wait_for_ready is None
    assert config.for_method(method("a.B", "C")).timeout is None


def test_missing_null_and_empty_are_the_same_name():
    with pytest.raises(ConfigError, match="twice"):
        parse_service_config(
            {"methodConfig": [{"name": [{}]}, {"name": [{"service": None, "method": ""}]}]}
        )


def test_an_entry_without_names_is_ignored():
    config = parse_service_config({"methodConfig": [{"timeout": "1s"}]})
    assert config.for_method(method("a.B", "C")).timeout is None


def test_the_retry_policy():
    retry = parse_service_config(
        with_method(retryPolicy={**RETRY, "perAttemptRecvTimeout": "0.25s"})
    ).for_method(method("a.B", "C")).retry  # fmt: skip
    assert (retry.max_attempts, retry.initial_backoff, retry.max_backoff) == (4, 0.1, 1.0)
    assert retry.attempt_timeout == 0.25
    assert retry.codes == {
        StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.RESOURCE_EXHAUSTED,
    }  # fmt: skip
    assert not retry.non_idempotent


def test_more_than_five_attempts_are_five():
    config = parse_service_config(with_method(retryPolicy={**RETRY, "maxAttempts": 9}))
    assert config.for_method(method("a.B", "C")).retry.max_attempts == 5


def test_own_fields():
    config = parse_service_config(
        {
            **with_method(seawall={"idempotent": True, "retryNonIdempotent": True}),
            "seawall": {
                "retryBudget": {"ratio": 0.2, "minRetriesPerSecond": 1},
                "breaker": {"consecutiveFailures": 7, "openTime": "2s"},
            },
        }
    )
    policy = config.for_method(method("a.B", "C"))
    assert policy.idempotent is True and policy.retry.non_idempotent
    assert config.budget.ratio == 0.2 and config.breaker.consecutive_failures == 7
    off = parse_service_config(with_method(seawall={"retries": False}))
    assert off.for_method(method("a.B", "C")).retry.max_attempts == 1


def test_the_first_known_balancer_wins():
    config = parse_service_config(
        {"loadBalancingConfig": [{"xds_thing": {}}, {"round_robin": {}}, {"least_loaded": {}}]}
    )
    assert config.balancer == "round_robin"


BAD = {
    "methodConfig": {"methodConfig": {}},
    "methodConfig[0]": {"methodConfig": [3]},
    "methodConfig[0].timeout": with_method(timeout="1"),
    "methodConfig[0].waitForReady": with_method(waitForReady="yes"),
    "methodConfig[0].name[0].service": {"methodConfig": [{"name": [{"service": 3}]}]},
    "methodConfig[0].name[0].method": {"methodConfig": [{"name": [{"method": "C"}]}]},
    "methodConfig[0].hedgingPolicy": with_method(hedgingPolicy={}),
    "methodConfig[0].retryPolcy": with_method(retryPolcy=RETRY),
    "methodConfig[0].retryPolicy.maxAttempts": with_method(retryPolicy={**RETRY, "maxAttempts": 1}),
    "methodConfig[0].retryPolicy.initialBackoff": with_method(
        retryPolicy={**RETRY, "initialBackoff": "0s"}
    ),
    "methodConfig[0].retryPolicy.maxBackoff": with_method(
        retryPolicy={k: v for k, v in RETRY.items() if k != "maxBackoff"}
    ),
    "methodConfig[0].retryPolicy.backoffMultiplier": with_method(
        retryPolicy={**RETRY, "backoffMultiplier": 0}
    ),
    "methodConfig[0].retryPolicy.retryableStatusCodes": with_method(
        retryPolicy={**RETRY, "retryableStatusCodes": []}
    ),
    "methodConfig[0].retryPolicy.retryableStatusCodes[1]": with_method(
        retryPolicy={**RETRY, "retryableStatusCodes": ["UNAVAILABLE", "OOPS"]}
    ),
    "methodConfig[0].retryPolicy.perAttemptRecvTimeout": with_method(
        retryPolicy={**RETRY, "perAttemptRecvTimeout": 3}
    ),
    "loadBalancingConfig": {"loadBalancingConfig": [{"pick_first": {}}]},
    "loadBalancingConfig[0]": {"loadBalancingConfig": [{"round_robin": {}, "pick_first": {}}]},
    "retryThrottling.maxTokens": {"retryThrottling": {"maxTokens": 1001, "tokenRatio": 0.1}},
    "retryThrottling.tokenRatio": {"retryThrottling": {"maxTokens": 10}},
    "seawall.braker": {"seawall": {"braker": {}}},
    "seawall.breaker.consecutiveFailures": {"seawall": {"breaker": {"consecutiveFailures": 0}}},
    "seawall.retryBudget.ratio": {"seawall": {"retryBudget": {"ratio": 2}}},
    "methodConfg": {"methodConfg": []},
}


@pytest.mark.parametrize("path", BAD)
def test_a_bad_document_is_refused_with_the_path(path):
    with pytest.raises(ConfigError) as caught:
        parse_service_config(BAD[path])
    assert caught.value.path == path
    assert str(caught.value).startswith(path)


def test_a_misspelt_field_gets_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean retryPolicy"):
        parse_service_config(BAD["methodConfig[0].retryPolcy"])


@pytest.mark.parametrize("text", ["{", "{}x", '{"a": NaN'])
def test_text_that_is_not_json(text):
    with pytest.raises(ConfigError, match="not JSON"):
        load_service_config(text)


def test_files(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(with_method(timeout="1s")))
    assert load_service_config(path).for_method(method("a.B", "C")).timeout == 1.0
    assert load_service_config(str(path)) == load_service_config(path)
    with pytest.raises(ConfigError, match="can't be read"):
        load_service_config(tmp_path / "missing.json")
    path.write_text("[]")
    with pytest.raises(ConfigError, match="must be a JSON object"):
        load_service_config(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["methodConfig", "name", "service", "timeout", "retryPolicy", "maxAttempts", "seawall",
             "breaker", "openTime", "loadBalancingConfig", "retryThrottling", "tokenRatio"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["methodConfig", "seawall", "retryThrottling"]), json_values)
)
def test_any_document_is_read_or_refused(document):
    try:
        parse_service_config(document)
    except ConfigError as error:
        assert str(error)
