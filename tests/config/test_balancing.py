"""Policies that gRPC puts round a balancer, in gRPC's own spelling."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.config import ServiceConfig, parse_service_config
from seawall.errors import ConfigError
from seawall.policy.outlier import FailurePercentageEjection, OutlierPolicy, SuccessRateEjection
from seawall.policy.subset import ALL, SubsetPolicy

RULES = {
    "interval": "5s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "60s",
    "maxEjectionPercent": 30,
    "successRateEjection": {"stdevFactor": 1000, "minimumHosts": 3},
    "failurePercentageEjection": {"threshold": 50, "requestVolume": 10},
}
ROUND_ROBIN = {"round_robin": {}}
RING = {"ring_hash_experimental": {}}
UNKNOWN = {"xds_wrr_locality_experimental": {"of": "no matter"}}


def outliers(*children: dict, **rules) -> dict:
    return {"outlier_detection_experimental": {**rules, "childPolicy": list(children)}}


def subset(size: object, *children: dict) -> dict:
    return {"random_subsetting": {"subsetSize": size, "childPolicy": list(children)}}


def read(*entries: dict, **own) -> ServiceConfig:
    return parse_service_config({"loadBalancingConfig": list(entries), "seawall": own})


def refused(*entries: dict, **own) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*entries, **own)
    return str(caught.value)


def test_outlier_detection_round_a_balancer_is_the_service_s_own():
    config = read(outliers(ROUND_ROBIN, **RULES))
    assert config.balancer.name == "round_robin"
    assert config.outliers == OutlierPolicy(
        5.0, 10.0, 60.0, 30,
        SuccessRateEjection(1000, minimum_hosts=3),
        FailurePercentageEjection(50, request_volume=10),
    )  # fmt: skip
    assert config == read(ROUND_ROBIN, outlierDetection=RULES)


def test_a_subset_round_a_balancer_is_the_service_s_own():
    config = read(subset(7, ROUND_ROBIN))
    assert config.balancer.name == "round_robin" and config.outliers is None
    assert config == read(ROUND_ROBIN, subset={"size": 7})


@pytest.mark.parametrize(
    "both",
    [
        outliers(subset(7, ROUND_ROBIN), **RULES),
        subset(7, outliers(ROUND_ROBIN, **RULES)),
        subset(7, UNKNOWN, outliers(UNKNOWN, ROUND_ROBIN, **RULES)),
    ],
)
def test_they_may_stand_in_each_other(both):
    assert read(both) == read(ROUND_ROBIN, outlierDetection=RULES, subset={"size": 7})


def test_the_first_policy_that_is_known_is_taken_and_these_are_known():
    taken = read(UNKNOWN, outliers(UNKNOWN, ROUND_ROBIN, RING), {"least_loaded": {}}, subset(7))
    assert taken == read(ROUND_ROBIN, outlierDetection={})
    assert read(ROUND_ROBIN, outliers(RING), subset(0)) == read(ROUND_ROBIN)


def test_either_stands_beside_the_other_s_own_field():
    apart = read(ROUND_ROBIN, outlierDetection=RULES, subset={"size": 7})
    assert read(outliers(ROUND_ROBIN, **RULES), subset={"size": 7}) == apart
    assert read(subset(7, ROUND_ROBIN), outlierDetection=RULES) == apart


def test_a_ring_of_hashes_in_them_is_one_of_everybody_unless_it_is_said_how_many():
    assert read(outliers(RING)).subset == SubsetPolicy(ALL)
    assert read(subset(7, RING)).subset == SubsetPolicy(7)
    assert read(outliers(RING), subset={"size": 7}).subset == SubsetPolicy(7)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (
            {"outlier_detection_experimental": {}},
            "loadBalancingConfig[0].outlier_detection_experimental.childPolicy: "
            "must name the balancer",
        ),
        (outliers(), "outlier_detection_experimental.childPolicy: must name the balancer"),
        (subset(7), "[0].random_subsetting.childPolicy: must name the balancer"),
        ({"random_subsetting": None}, "random_subsetting.subsetSize: must be a whole number"),
        (
            {"random_subsetting": {"childPolicy": [ROUND_ROBIN]}},
            "loadBalancingConfig[0].random_subsetting.subsetSize: must be a whole number of 1 or "
            "more, not nothing",
        ),
        (subset(0, ROUND_ROBIN), "random_subsetting.subsetSize: must be a whole number of 1 or"),
        (
            {"random_subsetting": {"size": 7, "childPolicy": [ROUND_ROBIN]}},
            "random_subsetting.size: is not a field that seawall knows; known: subsetSize, child",
        ),
        (
            outliers(ROUND_ROBIN, maxEjectionPercent=101),
            "loadBalancingConfig[0].outlier_detection_experimental.maxEjectionPercent: must be",
        ),
        (
            outliers(ROUND_ROBIN, child_policy=[]),
            "outlier_detection_experimental.child_policy: is not a field that seawall knows; did "
            "you mean childPolicy?",
        ),
        (
            outliers({"pick_first": {}}),
            "outlier_detection_experimental.childPolicy: knows none of pick_first; known: hot_cold",
        ),
        (
            outliers(outliers(ROUND_ROBIN)),
            "loadBalancingConfig[0].outlier_detection_experimental.childPolicy[0]"
            ".outlier_detection_experimental: stands in another one; leave one out",
        ),
        (
            subset(7, outliers(subset(8, ROUND_ROBIN))),
            ".childPolicy[0].random_subsetting: stands in another one; leave one out",
        ),
        (
            {"locality": {"childPolicy": [outliers(ROUND_ROBIN)]}},
            "loadBalancingConfig[0].locality.childPolicy[0].outlier_detection_experimental: can't "
            "stand in a balancer: put it round all of them, or say seawall.outlierDetection",
        ),
        (
            outliers({"split": {"weights": {"1": 1}, "childPolicy": [subset(7, RING)]}}),
            ".split.childPolicy[0].random_subsetting: can't stand in a balancer: put it round all "
            "of them, or say seawall.subset",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_mend(entry, error):
    assert error in refused(entry)


def test_what_is_known_is_what_may_stand_there():
    around = {"outlier_detection_experimental", "random_subsetting"}
    top = refused({"pick_first": {}}).partition("known: ")[2].split(", ")
    assert around <= set(top)
    nested = refused({"locality": {"childPolicy": [{"pick_first": {}}]}})
    assert nested.partition("known: ")[2].split(", ") == [n for n in top if n not in around]


@pytest.mark.parametrize(
    ("entry", "own", "error"),
    [
        (
            outliers(ROUND_ROBIN),
            {"outlierDetection": {}},
            "seawall.outlierDetection: can't stand beside outlier_detection_experimental in the "
            "loadBalancingConfig: it is one or the other",
        ),
        (
            outliers(subset(7, ROUND_ROBIN)),
            {"subset": {"client": 3}},
            "seawall.subset: can't stand beside random_subsetting in the loadBalancingConfig: it "
            "is one or the other",
        ),
    ],
)
def test_what_is_said_twice_is_refused(entry, own, error):
    assert refused(entry, **own) == error


@given(
    st.recursive(
        st.sampled_from([ROUND_ROBIN, RING, UNKNOWN, {"least_loaded": None}]),
        lambda inner: (
            st.builds(outliers, inner, inner)
            | st.builds(subset, st.sampled_from([0, 1, 2**31, None]), inner)
            | st.builds(lambda child: {"locality": {"childPolicy": [child]}}, inner)
        ),
        max_leaves=6,
    )
)
def test_any_nest_is_read_or_refused(entry):
    try:
        config = read(entry)
    except ConfigError as refusal:
        assert refusal.path.startswith("loadBalancingConfig")
        return
    assert config.balancer.name in {
        "round_robin",
        "ring_hash_experimental",
        "least_loaded",
        "locality",
    }
    assert (config.outliers is not None) == ("outlier_detection" in json.dumps(entry))
