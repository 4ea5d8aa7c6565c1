"""Documents that somebody wrote to do harm, or by mistake: refused, at once, in few words."""

import json
import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Method
from seawall.config import load_service_config, parse_service_config
from seawall.config.files import LARGEST
from seawall.errors import ConfigError
from seawall.events import ignore
from seawall.fields import MOST
from seawall.pipeline import Pipeline, Reading, Setting
from seawall.policy.subset import ALL
from seawall.testing.clock import FakeClock

SERVICE = "shop.v1.Inventory"
LONGEST = 400
"""Characters of an error: a line of a log."""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_service_config(text)
    assert len(str(caught.value)) <= LONGEST
    return str(caught.value)


def own(**fields) -> dict:
    return {"methodConfig": [{"name": [{"service": SERVICE}], "seawall": fields}]}


@pytest.mark.parametrize(
    "text",
    [
        '{"methodConfig": [], "methodConfig": []}',
        '{"seawall": {"retryBudget": {"ratio": 0.5, "ratio": 0.1}}}',
        '{"methodConfig": [{"name": [{}], "timeout": "1s", "timeout": "9s"}]}',
    ],
)
def test_a_field_that_is_there_twice_is_refused(text):
    assert "twice" in refused(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_jsons_is_refused(number):
    text = f'{{"seawall": {{"retryBudget": {{"ratio": {number}}}}}}}'
    assert number in refused(text)


@pytest.mark.parametrize("depth", [*range(880, 1010, 3), 100_000])
def test_depth_is_refused_wherever_it_is_found_out(depth):
    refused('{"methodConfig": [{"timeout": ' + "[" * depth + "]" * depth + "}]}")
    refused('{"a":' * depth + "1" + "}" * depth)


@pytest.mark.parametrize(
    "document",
    [
        {"x" * 100_000: 1},
        {"methodConfig": [{"y" * 100_000: 1}]},
        {"methodConfig": [{"timeout": "1" * 100_000}]},
        {"methodConfig": [{"timeout": list(range(100_000))}]},
        {"loadBalancingConfig": [{"z" * 100_000: {}}]},
        {"loadBalancingConfig": [{f"policy_{n}": {}} for n in range(10_000)]},
        {"loadBalancingConfig": [{"split": {"weights": {"v" * 100_000: -1}}}]},
        {"methodConfig": [{"name": [{"service": "s" * 100_000}] * 2}]},
        own(fallback={"method": "/" * 100_000}),
        own(fallback={"method": "/a.A/B"}) | {"seawall": {"k" * 100_000: 1}},
    ],
    ids=range(10),
)
def test_errors_are_short_and_soon_there(document):
    began = time.process_time()
    refused(json.dumps(document))
    assert time.process_time() - began < 2.0


def test_a_value_that_cannot_say_what_it_is_is_refused_too():
    class Silent:
        def __repr__(self):
            raise RuntimeError("no")

    for value in (Silent(), 10**5000):
        with pytest.raises(ConfigError, match="timeout: must be a duration"):
            parse_service_config({"methodConfig": [{"timeout": value}]})


def chain(length: int, *, circle: bool) -> dict:
    """Methods that answer for each other, one after the other."""
    entries = [
        {
            "name": [{"service": f"a.S{number}"}],
            "seawall": {"fallback": {"method": f"/a.S{number + 1}/M"}},
        }
        for number in range(length)
    ]
    if circle:
        entries[-1]["seawall"]["fallback"]["method"] = "/a.S0/M"
    return {"methodConfig": entries}


@pytest.mark.parametrize("circle", [False, True])
def test_a_long_chain_of_fallbacks_is_followed_once(circle):
    began = time.process_time()
    if circle:
        assert "circle" in refused(json.dumps(chain(5000, circle=True)))
    else:
        load_service_config(json.dumps(chain(5000, circle=False)))
    assert time.process_time() - began < 5.0


def test_an_entry_with_as_many_names_as_there_is_room_for_is_soon_read_and_compared():
    names = [{"service": f"a.S{number}"} for number in range(30_000)]
    text = json.dumps({"methodConfig": [{"name": names, "timeout": "1s"}]})
    began = time.process_time()
    assert load_service_config(text) == load_service_config(text)
    assert time.process_time() - began < 5.0


def test_one_entry_of_two_names_is_not_two_entries():
    one, other = {"service": "a.A"}, {"service": "b.B"}
    together = parse_service_config({"methodConfig": [{"name": [one, other]}]})
    apart = parse_service_config({"methodConfig": [{"name": [one]}, {"name": [other]}]})
    assert together != apart, "they share what is theirs together"


HUGE = st.sampled_from(
    [0, 1, 2, 5, 100, MOST, MOST + 1, 2**63, 10**400, -1, 1e-300, 5e-324, 1e299, 1e308, math.inf]
)
DURATIONS = st.sampled_from(["0s", "0.000000001s", "1s", "999999999999s", "1e9s", "-1s", "١s"])
DOCUMENTS = st.fixed_dictionaries(
    {
        "loadBalancingConfig": st.just([{"ring_hash_experimental": {}}])
        | st.builds(
            lambda update, black: [
                {"weighted_round_robin": {"weightUpdatePeriod": update, "blackoutPeriod": black}}
            ],
            DURATIONS,
            DURATIONS,
        )
        | st.builds(lambda a, b: [{"split": {"weights": {"1": a, "2": b}}}], HUGE, HUGE)
        | st.builds(lambda part: [{"locality": {"trafficShare": part}}], HUGE),
        "methodConfig": st.builds(
            lambda rate, burst, most, queue, wait, age, entries, size: [
                {
                    "name": [{"service": SERVICE}],
                    "seawall": {
                        "rateLimit": {"perSecond": rate, "burst": burst, "maxWait": wait},
                        "bulkhead": {"maxConcurrent": most, "maxQueue": queue, "maxWait": wait},
                        "staleIfError": {"maxAge": age, "maxEntries": entries, "maxBytes": size},
                        "hedging": {},
                    },
                }
            ],
            HUGE, HUGE, HUGE, HUGE, DURATIONS, DURATIONS, HUGE, HUGE,
        ),
        "seawall": st.builds(
            lambda ratio, interval, factor, volume, allowance, window, size, client, aggression: {
                "retryBudget": {"ratio": 0.1, "minRetriesPerSecond": ratio},
                "outlierDetection": {
                    "interval": interval,
                    "baseEjectionTime": interval,
                    "successRateEjection": {"stdevFactor": factor, "requestVolume": volume},
                },
                "adaptiveThrottling": {"allowance": allowance, "window": window},
                "subset": {"size": size, "client": client},
                "slowStart": {"window": window, "aggression": aggression},
            },
            HUGE, DURATIONS, HUGE, HUGE, HUGE, DURATIONS, HUGE, HUGE, HUGE,
        ),
    }
)  # fmt: skip


def pipeline_of(document: dict) -> Pipeline:
    setting = Setting(
        FakeClock(), lambda: 0.5, Reading(lambda outcome: None, lambda outcome: None), ignore
    )
    return Pipeline(SERVICE, parse_service_config(document), setting, lambda found: None)


@given(DOCUMENTS)
def test_what_is_taken_can_be_put_in_force(document):
    """No number that passes makes the making of what it is for fail, or the first call."""
    try:
        config = parse_service_config(document)
    except ConfigError as refusal:
        assert refusal.path and len(str(refusal)) <= LONGEST
        return
    pipeline = pipeline_of({})
    pipeline.reconfigure(config)
    method = Method.from_path(f"/{SERVICE}/GetStock", idempotent=True)
    pipeline.handler(method, config.for_method(method))
    pipeline._outliers.sweep(1e9)
    assert pipeline._throttle.probability(1e9) == 0.0


def test_whole_numbers_end_where_no_use_of_them_is_known():
    text = json.dumps(own(rateLimit={"perSecond": 1, "burst": 10**400}))
    assert f"a whole number of {MOST} or less" in refused(text)


def test_a_file_that_is_none_is_refused_at_once(tmp_path):
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(100_000_000)
    for path, problem in [
        (pipe, "is not a regular file"),
        (tmp_path, "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        (large, f"has more than {LARGEST} bytes"),
        ("a\0b", "can't be read"),
        ("x" * 5000, "can't be read"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            load_service_config(path)


def test_with_a_ring_of_hashes_everybody_is_used_unless_it_is_said_how_many():
    ring = [{"ring_hash_experimental": {}}]
    nested = [{"split": {"weights": {"1": 1}, "childPolicy": ring}}]
    for balancing in (ring, nested):
        assert parse_service_config({"loadBalancingConfig": balancing}).subset.size == ALL
    said = {"loadBalancingConfig": ring, "seawall": {"subset": {"size": 7}}}
    assert parse_service_config(said).subset.size == 7
    assert parse_service_config({}).subset.size == 20
