"""The documentation is true: its examples run, its links lead somewhere, its names exist."""

import asyncio
import inspect
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import seawall
from seawall.config import parse_service_config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TESTING = ROOT / "docs" / "testing.md"
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


def test_service_configs_of_the_docs_are_taken():
    documents = blocks(ROOT / "docs" / "policy.md", "json")
    assert documents
    for document in documents:
        parse_service_config(json.loads(document))


def test_service_configs_are_refused_in_the_words_of_the_docs():
    text = (ROOT / "docs" / "policy.md").read_text()
    rows = re.findall(r"^\| `(\{.*\})` \| `(.*)` \|$", text, re.M)
    assert rows
    for document, error in rows:
        with pytest.raises(seawall.ConfigError) as caught:
            parse_service_config(json.loads(document))
        assert str(caught.value) == error
