"""The pages of the documentation, and what is on them."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in that language; "" = those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)


def headings(path: Path) -> list[str]:
    """The anchors that the headings of a page have on GitHub."""
    found = re.findall(r"^#+ (.+)$", prose(path), re.M)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found]


def first_cells(path: Path, pattern: str) -> set[str]:
    """What the rows of a page's tables begin with, in code: the group of ``pattern``."""
    return set(re.findall(rf"^\| `{pattern}` \|", path.read_text(), re.M))


def sample(path: Path, mark: str) -> str:
    """The one Python block of a page that has ``mark`` in it."""
    (code,) = (code for code in blocks(path, "python") if mark in code)
    return code


def executed(code: str) -> dict[str, Any]:
    """The names that a Python block defines."""
    names: dict[str, Any] = {"__name__": "sample"}
    exec(compile(code, "sample", "exec"), names)
    return names
