"""The pages of the service config say what the code does."""

import copy
import json
import re
from pathlib import Path

import pytest

import seawall
from seawall.call import Endpoint, Instance
from seawall.config import ServiceConfig, parse_service_config
from seawall.fields import Fields
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.hedge import HedgePolicy
from seawall.policy.outlier import FailurePercentageEjection, OutlierPolicy, SuccessRateEjection
from seawall.policy.retry import RetryPolicy
from seawall.policy.stale import StalePolicy
from seawall.policy.throttle import AdaptiveThrottle
from tests.pages import DOCS, PAGES, blocks, executed, prose, sample

POLICY, BALANCERS, LIMITS = CONFIG = [
    DOCS / f"{name}.md" for name in ("policy", "balancers", "limits")
]


def configs(path: Path) -> list[dict]:
    """The service configs on a page: on the pages about them, every JSON there is."""
    documents = [json.loads(text) for text in blocks(path, "json")]
    known = {"loadBalancingConfig", "methodConfig", "retryThrottling", "seawall"}
    return [one for one in documents if path in CONFIG or known & one.keys()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_service_configs_of_the_docs_are_taken(page):
    documents = configs(page)
    assert documents or page not in CONFIG
    for document in documents:
        parse_service_config(document)


def test_service_configs_are_refused_in_the_words_of_the_docs():
    rows = re.findall(r"^\| `(\{.*\})` \| `(.*)` \|$", POLICY.read_text(), re.M)
    assert rows
    for document, error in rows:
        with pytest.raises(seawall.ConfigError) as caught:
            parse_service_config(json.loads(document))
        assert str(caught.value) == error


def refusal(document: dict) -> str:
    try:
        parse_service_config(document)
    except seawall.ConfigError as error:
        return str(error)
    return ""


def misspelt(node):
    """Yields while each object below ``node`` in turn has a field that nobody knows."""
    if isinstance(node, dict):
        node["?"] = 1
        yield
        del node["?"]
    for child in list(node.values() if isinstance(node, dict) else node):
        if isinstance(child, dict | list):
            yield from misspelt(child)


def named_in(error: str) -> set[str]:
    """The names that a refusal says are known."""
    found = re.search(r"known: ([\w, ]+)$", error)
    return set(found[1].split(", ")) if found else set()


def balancers() -> set[str]:
    return named_in(refusal({"loadBalancingConfig": [{"?": {}}]}))


def test_every_field_of_a_service_config_is_in_the_docs():
    samples = [document for path in CONFIG for document in copy.deepcopy(configs(path))]
    samples += [{"loadBalancingConfig": [{name: {}}]} for name in balancers()]
    known = {
        name for sample in samples for _ in misspelt(sample) for name in named_in(refusal(sample))
    }
    assert {"methodConfig", "maxQueue", "hedgingDelay", "choiceCount", "tokenRatio"} <= known
    text = "".join(map(prose, CONFIG))
    told = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}
    assert known <= told


def test_the_numbers_of_the_config_pages_are_the_defaults():
    whole, default = parse_service_config(configs(POLICY)[0]), ServiceConfig()
    assert whole.balancer == default.balancer and whole.breaker == default.breaker
    assert whole.budget == default.budget and whole.hedging_budget == default.hedging_budget
    assert whole.subset == default.subset
    stock = whole.methods["shop.v1.Inventory", "GetStock"]
    assert stock.retry.changed(attempt_timeout=None) == RetryPolicy()
    assert stock.hedge.changed(delay=None) == HedgePolicy()
    assert stock.stale == StalePolicy(max_age=300)
    limits = parse_service_config(configs(LIMITS)[0])
    assert limits.breaker.changed(failure_ratio=None) == BreakerPolicy()
    assert limits.adaptive == AdaptiveThrottle()
    assert limits.outliers == OutlierPolicy(
        success_rate=SuccessRateEjection(), failure_percentage=FailurePercentageEjection()
    )


def test_the_table_of_balancers_has_them_all_with_their_defaults():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*?) ?\|$", BALANCERS.read_text(), re.M))
    assert rows.keys() == balancers()
    for name, row in rows.items():
        if given := re.findall(r'`(\w+)` `?("\w+"|[\d.]+\b|false)', row):
            fields = {field: json.loads(value) for field, value in given}
            shown = parse_service_config({"loadBalancingConfig": [{name: fields}]})
            assert shown == parse_service_config({"loadBalancingConfig": [{name: {}}]})


def test_the_balancer_of_the_docs_picks():
    names = executed(sample(BALANCERS, "def parse"))
    balancer = names["parse"](Fields({}, "newest")).build(lambda: 0.5, lambda: 0.0)
    old, new = (
        Endpoint(Instance("s", str(at), f"10.0.0.{at}:80", {"started_at": at}), None, None)
        for at in (1, 2)
    )
    assert balancer.pick((old, new), None) is new
    assert balancer.reports_from is None
