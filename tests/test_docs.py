"""The documentation is true: its examples run, its links lead somewhere, its names exist."""

import asyncio
import copy
import inspect
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

import seawall
from seawall.call import Attempt, Endpoint, Instance
from seawall.config import ServiceConfig, parse_service_config
from seawall.events import Event
from seawall.fields import Fields
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.hedge import HedgePolicy
from seawall.policy.outlier import FailurePercentageEjection, OutlierPolicy, SuccessRateEjection
from seawall.policy.retry import RetryPolicy
from seawall.policy.stale import StalePolicy
from seawall.policy.throttle import AdaptiveThrottle
from seawall.transport.translate import story_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TESTING, CLIENT, POLICY, BALANCERS, LIMITS = (
    ROOT / "docs" / f"{name}.md" for name in ("testing", "client", "policy", "balancers", "limits")
)
CONFIG = [POLICY, BALANCERS, LIMITS]
"""The pages of the service config."""
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [*(ROOT / "framework").rglob("*.py"), *(ROOT / "services").rglob("*.py")]

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


def headings(path: Path) -> set[str]:
    """The anchors that the headings of a page have on GitHub."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    found = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


@asynccontextmanager
async def process(tmp_path: Path, code: str):
    """A Python process that runs ``code``; killed at the end if it still runs."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("SEAWALL_", "OTEL_"))}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=tmp_path,
        env=ours | {"PYTHONPATH": str(ROOT), "SEAWALL_REGISTRY": f"local://{tmp_path}/registry"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_the_server_and_the_client_of_the_readme(tmp_path):
    server_code, client_code = blocks(README, "python")
    assert len(server_code.splitlines()) <= 10 and len(client_code.splitlines()) <= 15
    async with asyncio.timeout(30), process(tmp_path, server_code) as server:
        while b"serving shop.v1.Inventory" not in (line := await server.stderr.readline()):
            assert line, "the server ended without serving"
        async with process(tmp_path, client_code) as client:
            out, errors = await client.communicate()
        assert out == b"100 in stock\n", errors.decode()
        server.send_signal(signal.SIGTERM)
        assert await server.wait() == 0


EXAMPLES = [code for code in blocks(TESTING, "python") if "EtcdServer" not in code]


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_the_examples_of_tests_pass(code):
    names: dict = {}
    exec(compile(code, TESTING.name, "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        outcome = test()
        if inspect.isawaitable(outcome):
            async with asyncio.timeout(10):
                await outcome


@page
def test_python_blocks_compile(page):
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


@page
def test_links_lead_to_files_and_headings_that_exist(page):
    text = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in headings(file), target


@page
def test_variables_exist_in_the_code(page):
    code = "\n".join(path.read_text() for path in SOURCES)
    for variable in set(re.findall(r"SEAWALL_[A-Z_]+", page.read_text())):
        assert re.search(rf'"{variable}"', code), variable


def test_the_design_names_what_is_there():
    code = "\n".join(path.read_text() for path in [*SOURCES, ROOT / "pyproject.toml"])
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / "design.md").read_text(), flags=re.M | re.S)
    for name in set(re.findall(r"`([A-Za-z_][\w.]*)[`(]", text)) - {"pyproject.toml"}:
        last = name.removesuffix(".py").rpartition(".")[2]
        known = re.search(rf"\b{last}\b", code) or list((ROOT / "framework").rglob(f"{last}.py"))
        assert known, name


def test_the_readme_names_every_variable_that_the_framework_reads():
    code = "\n".join(path.read_text() for path in (ROOT / "framework").rglob("*.py"))
    read = set(re.findall(r'"(SEAWALL_[A-Z_]+)"', code))
    assert read <= set(re.findall(r"SEAWALL_[A-Z_]+", README.read_text()))


def configs(path: Path) -> list[dict]:
    """The service configs on a page: on the pages about them, every JSON there is."""
    documents = [json.loads(text) for text in blocks(path, "json")]
    known = {"loadBalancingConfig", "methodConfig", "retryThrottling", "seawall"}
    return [one for one in documents if path in CONFIG or known & one.keys()]


@page
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
    text = "".join(
        re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S) for path in CONFIG
    )
    told = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}
    assert known <= told


def test_the_numbers_of_the_config_pages_are_the_defaults():
    whole, default = parse_service_config(configs(POLICY)[0]), ServiceConfig()
    assert whole.balancer == default.balancer and whole.breaker == default.breaker
    assert whole.budget == default.budget and whole.hedging_budget == default.hedging_budget
    assert whole.subset == default.subset
    stock = whole.methods["shop.v1.Inventory", "GetStock"]
    assert replace(stock.retry, attempt_timeout=None) == RetryPolicy()
    assert replace(stock.hedge, delay=None) == HedgePolicy()
    assert stock.stale == StalePolicy(max_age=300)
    limits = parse_service_config(configs(LIMITS)[0])
    assert replace(limits.breaker, failure_ratio=None) == BreakerPolicy()
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
    names: dict = {}
    (code,) = (code for code in blocks(BALANCERS, "python") if "def parse" in code)
    exec(compile(code, BALANCERS.name, "exec"), names)
    balancer = names["parse"](Fields({}, "newest")).build(lambda: 0.5, lambda: 0.0)
    old, new = (
        Endpoint(Instance("s", str(at), f"10.0.0.{at}:80", {"started_at": at}), None, None)
        for at in (1, 2)
    )
    assert balancer.pick((old, new), None) is new
    assert balancer.reports_from is None


def column(pattern: str) -> set[str]:
    """What the rows of the tables of client.md begin with."""
    return set(re.findall(rf"^\| `{pattern}` \|", CLIENT.read_text(), re.M))


def test_the_page_of_clients_has_every_argument_and_option():
    assert inspect.signature(seawall.connect).parameters.keys() <= column(r"(\w+)")
    assert inspect.signature(seawall.options).parameters.keys() == column(r"(\w+)=")


def test_the_page_of_clients_has_every_refusal_and_every_event():
    refusals = {kind.__name__ for kind in seawall.Refused.__subclasses__()}
    assert refusals <= column(r"(\w+)")
    ours = [kind for kind in Event.__subclasses__() if kind.__module__ == Event.__module__]
    rows = re.findall(
        r"^\| (`[A-Z][\w`, ]*`) \| ((?:info|warning)[\w, ]*) \|", CLIENT.read_text(), re.M
    )
    levels = {
        name: level
        for names, told in rows
        for name, level in zip(re.findall(r"\w+", names), told.split(", "), strict=True)
    }
    assert levels == {kind.__name__: kind.level for kind in ours}


def test_calls_are_explained_as_the_docs_show():
    (shown,) = re.findall(r"^```\n(/shop\..*?)^```", CLIENT.read_text(), re.M | re.S)
    title, *lines = shown.splitlines()
    told = r"  attempt (\d) at (\S+) \(of (\d)\): (\w+) after ([\d.]+) ms: (.*)"
    attempts = [
        Attempt(int(n), address, StatusCode[code], details, float(ms) / 1000, int(candidates))
        for n, address, candidates, code, ms, details in re.findall(told, shown)
    ]
    notes = [line.strip() for line in lines[len(attempts) :]]
    assert len(attempts) == 3 and len(notes) == 2
    assert story_of(title, attempts, notes) == shown.rstrip()
