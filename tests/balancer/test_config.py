from importlib.metadata import EntryPoint, EntryPoints

import pytest

import seawall.balancer.config as module
from seawall.balancer import DEFAULT, parse
from seawall.balancer.hot_cold import HotColdPolicy
from seawall.balancer.least_loaded import LeastLoadedPolicy
from seawall.balancer.least_request import LeastRequestPolicy
from seawall.balancer.locality import LocalityPolicy
from seawall.balancer.ring_hash import RingHashPolicy
from seawall.balancer.round_robin import RoundRobinPolicy
from seawall.balancer.split import SplitPolicy
from seawall.balancer.weighted import WeightedPolicy
from seawall.errors import ConfigError
from seawall.fields import Fields
from tests.balancer.support import policy


def parsed(*entries):
    return parse(Fields({"loadBalancingConfig": list(entries)}, "").children("loadBalancingConfig"))


def test_none_is_the_default():
    assert parsed() == DEFAULT


def test_the_first_known_wins_and_the_others_are_not_looked_at():
    found = parsed({"xds_wrr_locality_experimental": {"x": 1}}, {"round_robin": {}}, {"split": {}})
    assert found == RoundRobinPolicy()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"hot_cold": {}}, HotColdPolicy()),
        (
            {"hot_cold": {"poolSize": 8, "reportAge": "0.5s", "hotQuantile": 0}},
            HotColdPolicy(8, 0.5, 0.0),
        ),
        ({"least_loaded": None}, LeastLoadedPolicy()),
        ({"least_request_experimental": {"choiceCount": 64}}, LeastRequestPolicy(10)),
        ({"ring_hash_experimental": {}}, RingHashPolicy(1024, 4096, "", 1.25)),
        (
            {
                "ring_hash_experimental": {
                    "minRingSize": 16,
                    "maxRingSize": 8388608,
                    "requestHashHeader": "X-User",
                    "boundedLoadFactor": 2,
                }
            },
            RingHashPolicy(16, 4096, "x-user", 2.0),
        ),
        (
            {"ring_hash_experimental": {"boundedLoadFactor": None}},
            RingHashPolicy(bound=None),
        ),
        (
            {
                "weighted_round_robin": {
                    "blackoutPeriod": "0s",
                    "weightExpirationPeriod": "60s",
                    "weightUpdatePeriod": "0.001s",
                    "errorUtilizationPenalty": 0,
                    "enableOobLoadReport": False,
                    "oobReportingPeriod": "10s",
                }
            },
            WeightedPolicy(0.0, 60.0, 0.1, 0.0),
        ),
        ({"locality": {"trafficShare": 0.5}}, LocalityPolicy(0.5)),
        (
            {
                "split": {
                    "weights": {"1": 1},
                    "childPolicy": [{"locality": {"childPolicy": [{"round_robin": {}}]}}],
                }
            },
            SplitPolicy({"1": 1.0}, child=LocalityPolicy(child=RoundRobinPolicy())),
        ),
    ],
)
def test_what_is_said_is_what_is_built(entry, expected):
    found = parsed(entry)
    assert found == expected
    assert found.name == next(iter(entry))


def nested(depth):
    return {"locality": {"childPolicy": [nested(depth - 1)] if depth else []}}


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"pick_first": {}}, "loadBalancingConfig: knows none of pick_first; known: hot_cold, le"),
        ({}, "loadBalancingConfig[0]: must have exactly one field, the name of a policy"),
        ({"random": {"x": 1}}, "loadBalancingConfig[0].random.x: is not a field that seawall"),
        ({"round_robin": 1}, "loadBalancingConfig[0].round_robin: must be an object, not 1"),
        (
            {"least_request_experimental": {"choiceCount": 1}},
            "least_request_experimental.choiceCount: must be a whole number of 2 or more, not 1",
        ),
        (
            {"weighted_round_robin": {"enableOobLoadReport": True}},
            "weighted_round_robin.enableOobLoadReport: is not supported",
        ),
        (
            {"weighted_round_robin": {"blackoutPeriod": 10}},
            "weighted_round_robin.blackoutPeriod: must be a string, not 10",
        ),
        (
            {"ring_hash_experimental": {"minRingSize": 100, "maxRingSize": 10}},
            "ring_hash_experimental.maxRingSize: is less than minRingSize (10 < 100)",
        ),
        (
            {"ring_hash_experimental": {"boundedLoadFactor": 1}},
            "ring_hash_experimental.boundedLoadFactor: must be a number above 1, not 1",
        ),
        (
            {"ring_hash_experimental": {"requestHashHeader": "x-user-bin"}},
            "ring_hash_experimental.requestHashHeader: must not be binary metadata (-bin)",
        ),
        ({"hot_cold": {"hotQuantile": 2}}, "hot_cold.hotQuantile: must be a number at least 0 and"),
        ({"locality": {"trafficShare": 0}}, "locality.trafficShare: must be a number above 0 and"),
        (
            {"locality": {"childPolicy": [{"split": {"weights": {"1": -1}}}]}},
            "[0].locality.childPolicy[0].split.weights.1: must be a number at least 0, not -1",
        ),
        (
            {"locality": {"childPolicy": [{"nope": {}}]}},
            "loadBalancingConfig[0].locality.childPolicy: knows none of nope; known: hot_cold",
        ),
        ({"split": {}}, "split.weights: must say how much each version gets"),
        ({"split": {"weights": {"1": 0}}}, "split.weights: must not all be 0"),
        ({"split": {"weights": {"1": None}}}, "split.weights.1: must be a number"),
        (nested(8), "childPolicy: stands deeper than 8 policies in each other"),
        (nested(300), "childPolicy: stands deeper than 8 policies in each other"),
    ],
)
def test_what_is_wrong_is_named(entry, error):
    with pytest.raises(ConfigError) as caught:
        parsed(entry)
    assert error in str(caught.value)


def test_eight_policies_deep_is_built():
    assert parsed(nested(7)).build(lambda: 0.5, lambda: 0.0, "a").reports_from


def offered(monkeypatch, name, value):
    point = EntryPoint(name, value, module.ENTRY_POINTS)
    monkeypatch.setattr(module, "_entry_points", lambda: EntryPoints([point]))


def my_parser(fields):
    fields.only("speed")
    return HotColdPolicy(pool=fields.integer("speed", 7, least=1))


def test_another_packages_policy_is_found_by_its_name(monkeypatch):
    offered(monkeypatch, "my_own", f"{__name__}:my_parser")
    assert policy("my_own", speed=3) == HotColdPolicy(pool=3)
    assert policy("locality", childPolicy=[{"my_own": {}}]).child == HotColdPolicy(pool=7)
    with pytest.raises(ConfigError, match="pace: is not a field that seawall knows"):
        policy("my_own", pace=3)
    with pytest.raises(ConfigError, match=r"known: .*my_own"):
        policy("your_own")


def test_another_packages_policy_that_cannot_be_loaded_is_named(monkeypatch):
    offered(monkeypatch, "my_own", "nowhere.at_all:parser")
    with pytest.raises(ConfigError, match=r"my_own: is offered by nowhere.at_all:parser, which"):
        policy("my_own")
