"""What docs/simulator.md shows works as it stands."""

import json
import re
from pathlib import Path

import pytest

from seawall.testing.simulate.command import _parser
from seawall.testing.simulate.scenario import Scenario
from seawall.testing.simulate.scenarios import BUILT_IN

TEXT = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def test_the_example_passes():
    (code,) = blocks("python")
    names: dict = {}
    exec(compile(code, "simulator.md", "exec"), names)
    names["test_our_policy_survives_a_brown_out"]()


def test_the_scenario_plays():
    (document,) = blocks("json")
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
