"""The documentation is true: its links lead somewhere, its names exist, its tables are whole."""

import importlib.util
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from grpc import StatusCode

import seawall
from seawall import cli
from seawall.call import Attempt
from seawall.events import Event
from seawall.registry.dns import url as dns_url
from seawall.registry.etcd import url as etcd_url
from seawall.server.settings import Settings
from seawall.telemetry import names as telemetry_names
from seawall.transport.translate import story_of
from tests.pages import DOCS, PAGES, README, ROOT, blocks, first_cells, headings, prose

CLIENT, SERVICE, REGISTRY, TRACING = (
    DOCS / f"{name}.md" for name in ("client", "service", "registry", "tracing")
)
SOURCES = [*(ROOT / "framework").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
EVERYTHING = "\n".join(path.read_text() for path in PAGES)

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@page
def test_python_blocks_compile(page):
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


@page
def test_links_lead_to_files_and_headings_that_exist(page):
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^]]+\]: (\S+)", text, re.M)
    for target in targets:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in headings(file), target


@page
def test_no_two_headings_of_a_page_have_one_anchor(page):
    assert [name for name, count in Counter(headings(page)).items() if count > 1] == []


@page
def test_references_have_a_target(page):
    text = re.sub(r"`[^`\n]*`|^    .*$", "", prose(page), flags=re.M)
    defined = set(re.findall(r"^\[([^]]+)\]:", text, re.M))
    used = set(re.findall(r"(?<!\w)\[([A-Za-z][\w -]*)\](?![\[(:\w])", text))
    assert used == defined


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README.read_text()))
    assert linked == {path.name for path in DOCS.glob("*.md")}


@page
def test_variables_exist_in_the_code(page):
    code = "\n".join(path.read_text() for path in SOURCES)
    for variable in set(re.findall(r"SEAWALL_[A-Z_]+", page.read_text())):
        assert re.search(rf'"{variable}"', code), variable


def test_the_readme_names_every_variable_that_the_framework_reads():
    code = "\n".join(path.read_text() for path in (ROOT / "framework").rglob("*.py"))
    read = set(re.findall(r'"(SEAWALL_[A-Z_]+)"', code))
    assert read <= set(re.findall(r"SEAWALL_[A-Z_]+", README.read_text()))


@page
def test_commands_exist(page):
    text = page.read_text()
    shown = "\n".join([*re.findall(r"`([^`\n]+)`", prose(page)), *blocks(page, "")])
    made = set(re.findall(r"^make ([a-z-]+)", shown, re.M))
    assert made <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for module in set(re.findall(r"python -m ([a-z_]+(?:\.\w+)*)", text)):
        assert importlib.util.find_spec(module), module


def test_the_design_names_what_is_there():
    code = "\n".join(path.read_text() for path in [*SOURCES, ROOT / "pyproject.toml"])
    words = set(re.findall(r"\w+", code)) | {path.stem for path in SOURCES}
    text = prose(DOCS / "design.md")
    for name in set(re.findall(r"`([A-Za-z_][\w.]*)[`(]", text)) - {"pyproject.toml"}:
        last = name.removesuffix(".py").rpartition(".")[2]
        assert last in words, name


def test_the_page_of_clients_has_every_argument_and_option():
    named = first_cells(CLIENT, r"(\w+)")
    assert inspect.signature(seawall.connect).parameters.keys() <= named
    assert inspect.signature(seawall.options).parameters.keys() == first_cells(CLIENT, r"(\w+)=")


def test_the_page_of_clients_has_every_refusal():
    refusals = {kind.__name__ for kind in seawall.Refused.__subclasses__()}
    assert refusals <= first_cells(CLIENT, r"(\w+)")


def kinds_of(base: type[Event]) -> Iterator[type[Event]]:
    """The framework's events below ``base`` that are no base themselves."""
    for kind in base.__subclasses__():
        if getattr(sys.modules[kind.__module__], kind.__name__, None) is not kind:
            continue  # a dataclass with slots leaves one without behind
        if kind.__subclasses__():
            yield from kinds_of(kind)
        elif kind.__module__.startswith("seawall."):
            yield kind


def test_every_event_is_told_with_its_level():
    importlib.import_module("seawall.supervisor.events")
    rows = re.findall(
        r"^\| (`[A-Z][\w`, ]*`) \| ((?:debug|info|warning|error)[\w, ]*) \|", EVERYTHING, re.M
    )
    levels: list[tuple[str, str]] = []
    for cell, told in rows:
        names, each = re.findall(r"\w+", cell), told.split(", ")
        levels += zip(names, each * len(names) if len(each) == 1 else each, strict=True)
    assert sorted(levels) == sorted((kind.__name__, kind.level) for kind in kinds_of(Event))


def test_the_page_of_services_has_every_setting():
    (table,) = re.findall(r"^## Settings\n(.*?)^## ", SERVICE.read_text(), re.M | re.S)
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\|[^|]*\|$", table, re.M)
    assert sorted(rows) == sorted(Settings.__match_args__)


def test_every_option_of_seawall_run_is_named(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.M))
    assert "--registry" in options
    assert options <= set(re.findall(r"--[a-z-]+", EVERYTHING))


def test_the_page_of_registries_has_every_option_of_a_url():
    cells = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|[^|]*\|", prose(REGISTRY), re.M))))
    assert {*etcd_url._OPTIONS, *dns_url._OPTIONS} <= cells


def test_the_page_of_traces_has_every_attribute():
    values = [value for name, value in vars(telemetry_names).items() if name.isupper()]
    ours = {name for name in map(str, values) if re.fullmatch(r"[a-z]+(\.\w+)+", name)}
    assert "seawall.client.fallbacks" in ours
    assert {name for name in ours if f"`{name}`" not in TRACING.read_text()} == set()


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
