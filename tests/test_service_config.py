import json

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Method
from seawall.config import load_service_config, parse_service_config
from seawall.errors import ConfigError
from seawall.policy.bulkhead import BulkheadPolicy
from seawall.policy.hedge import HedgePolicy
from seawall.policy.outlier import (
    FailurePercentageEjection,
    OutlierPolicy,
    SuccessRateEjection,
)
from seawall.policy.rate import RatePolicy
from seawall.policy.stale import StalePolicy
from seawall.policy.subset import SubsetPolicy
from seawall.policy.throttle import AdaptiveThrottle
from seawall.policy.warmup import SlowStartPolicy

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
    assert config.balancer.name == "hot_cold"
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


def test_every_field_of_a_methods_own():
    config = parse_service_config(
        with_method(
            seawall={
                "hedging": {"percentile": 99, "maxAttempts": 3},
                "bulkhead": {"maxConcurrent": 10, "maxQueue": 5, "maxWait": "0.1s"},
                "rateLimit": {"perSecond": 100, "burst": 20, "maxWait": "0.2s"},
                "staleIfError": {"maxAge": "60s", "maxEntries": 10, "vary": ["X-User"]},
                "fallback": {"method": "/a.Archive/C"},
            }
        )
    )
    policy = config.for_method(method("a.B", "C"))
    assert policy.hedge == HedgePolicy(3, None, 0.99)
    assert policy.bulkhead == BulkheadPolicy(10, 5, 0.1)
    assert policy.rate == RatePolicy(100, 20, 0.2)
    assert policy.stale == StalePolicy(60.0, 10, ("x-user",))
    assert policy.fallback == "/a.Archive/C"


def test_grpcs_hedging_policy_is_taken_as_it_is():
    config = parse_service_config(
        with_method(
            hedgingPolicy={
                "maxAttempts": 9, "hedgingDelay": "0s", "nonFatalStatusCodes": ["UNAVAILABLE"],
            }
        )
    )  # fmt: skip
    hedge = config.for_method(method("a.B", "C")).hedge
    assert hedge == HedgePolicy(5, 0.0, non_fatal=frozenset({StatusCode.UNAVAILABLE}))


def test_every_field_of_a_services_own():
    config = parse_service_config(
        {
            "seawall": {
                "hedgingBudget": {"ratio": 0.02, "minHedgesPerSecond": 5},
                "breaker": {"failureRatio": 0.5, "minimumCalls": 30, "window": "5s"},
                "outlierDetection": {
                    "interval": "5s",
                    "maxEjectionPercent": 20,
                    "successRateEjection": {"stdevFactor": 1000},
                    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 3},
                },
                "adaptiveThrottling": {"ratio": 1.5, "window": "10s"},
                "slowStart": {"window": "30s", "aggression": 2, "minWeightPercent": 5},
                "subset": {"size": 30, "client": 4},
            }
        }
    )
    assert config.hedging_budget.ratio == 0.02 and config.hedging_budget.floor == 5
    assert config.breaker.failure_ratio == 0.5 and config.breaker.minimum_calls == 30
    assert config.outliers == OutlierPolicy(
        interval=5.0,
        max_ejection_percent=20,
        success_rate=SuccessRateEjection(1000),
        failure_percentage=FailurePercentageEjection(50, minimum_hosts=3),
    )
    assert config.adaptive == AdaptiveThrottle(1.5, 10.0)
    assert config.slow_start == SlowStartPolicy(30.0, 2.0, 0.05)
    assert config.subset == SubsetPolicy(30, 4)


def test_the_first_known_balancer_wins():
    config = parse_service_config(
        {"loadBalancingConfig": [{"xds_thing": {}}, {"round_robin": {}}, {"least_loaded": {}}]}
    )
    assert config.balancer.name == "round_robin"


BAD = {
    "methodConfig": {"methodConfig": {}},
    "methodConfig[0]": {"methodConfig": [3]},
    "methodConfig[0].timeout": with_method(timeout="1"),
    "methodConfig[0].waitForReady": with_method(waitForReady="yes"),
    "methodConfig[0].name[0].service": {"methodConfig": [{"name": [{"service": 3}]}]},
    "methodConfig[0].name[0].method": {"methodConfig": [{"name": [{"method": "C"}]}]},
    "methodConfig[0].hedgingPolicy.maxAttempts": with_method(hedgingPolicy={}),
    "methodConfig[0].hedgingPolicy": with_method(
        retryPolicy=RETRY, hedgingPolicy={"maxAttempts": 2}
    ),
    "methodConfig[0].seawall.hedging": with_method(
        hedgingPolicy={"maxAttempts": 2}, seawall={"hedging": {}}
    ),
    "methodConfig[0].seawall.hedging.percentile": with_method(
        seawall={"hedging": {"percentile": 0.95}}
    ),
    "methodConfig[0].seawall.bulkhead.maxConcurrent": with_method(seawall={"bulkhead": {}}),
    "methodConfig[0].seawall.rateLimit.perSecond": with_method(
        seawall={"rateLimit": {"perSecond": 0}}
    ),
    "methodConfig[0].seawall.staleIfError.maxAge": with_method(seawall={"staleIfError": {}}),
    "methodConfig[0].seawall.staleIfError.vary": with_method(
        seawall={"staleIfError": {"maxAge": "1s", "vary": [3]}}
    ),
    "methodConfig[0].seawall.fallback.method": with_method(
        seawall={"fallback": {"method": "GetStock"}}
    ),
    "seawall.breaker.failureRatio": {"seawall": {"breaker": {"failureRatio": 1.5}}},
    "seawall.outlierDetection.maxEjectionPercent": {
        "seawall": {"outlierDetection": {"maxEjectionPercent": 101}}
    },
    "seawall.outlierDetection.successRateEjection.requestVolume": {
        "seawall": {"outlierDetection": {"successRateEjection": {"requestVolume": -1}}}
    },
    "seawall.adaptiveThrottling.ratio": {"seawall": {"adaptiveThrottling": {"ratio": 0.5}}},
    "seawall.slowStart.window": {"seawall": {"slowStart": {}}},
    "seawall.subset.size": {"seawall": {"subset": {"size": 0}}},
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


def test_methods_that_answer_for_each_other_in_a_circle_are_refused():
    entries = [
        {
            "name": [{"service": "a.B", "method": name}],
            "seawall": {"fallback": {"method": f"/a.B/{other}"}},
        }
        for name, other in ("CD", "DC")
    ]
    with pytest.raises(ConfigError, match=r"in a circle: /a\.B/"):
        parse_service_config({"methodConfig": entries})
