"""What docs/simulator.md shows works as it stands; its example is run with those of all pages."""

import json
import re

import pytest

from seawall.testing.simulate.command import _parser
from seawall.testing.simulate.scenario import Scenario
from seawall.testing.simulate.scenarios import BUILT_IN
from tests.pages import DOCS, blocks

PAGE = DOCS / "simulator.md"
TEXT = PAGE.read_text()


def test_the_scenario_plays():
    (document,) = blocks(PAGE, "json")
    scenario = Scenario(json.loads(document))
    scenario.seconds = 2.0
    assert scenario.run().success() > 0.9


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_scenario_is_named(name):
    assert f"`{name}`" in TEXT


def test_every_option_is_explained():
    options = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", _parser().format_help(), re.M)) - {
        "--help"
    }
    assert options and options == set(re.findall(r"^\| `(--[a-z-]+)`", TEXT, re.M))
