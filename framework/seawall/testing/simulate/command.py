"""The command line: ``python -m seawall.testing.simulate``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from seawall.config import load_service_config
from seawall.errors import ConfigError
from seawall.testing.simulate.client import ServiceConfigLike
from seawall.testing.simulate.result import Result
from seawall.testing.simulate.scenario import Scenario, load_scenario
from seawall.testing.simulate.scenarios import BUILT_IN, built_in
from seawall.testing.simulate.table import by_second, summary

DEFAULTS = "defaults"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.scenario is None:
        _say(*(f"{name:<12} {document['about']}" for name, document in BUILT_IN.items()))
        return 0
    if options.show:
        if options.scenario not in BUILT_IN:
            parser.error(f"--show is for built-in scenarios, not {options.scenario}")
        _say(json.dumps(BUILT_IN[options.scenario], indent=2))
        return 0
    try:
        scenario = _scenario(options.scenario)
        if options.seconds is not None:
            if not options.seconds > 0:
                parser.error(f"--seconds must be above 0, not {options.seconds:g}")
            scenario.seconds = options.seconds
        policies = [_policy(text) for text in options.policy]
        _report(scenario, policies, options)
    except ConfigError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return 0


def _report(
    scenario: Scenario,
    policies: list[tuple[str, ServiceConfigLike]],
    options: argparse.Namespace,
) -> None:
    results: list[tuple[str, Result]] = []
    for name, config in [(DEFAULTS, None), *policies]:
        results.append((name, scenario.run(options.seed, config)))
        if options.by_second:
            _say(f"{scenario.name}, {name}:", by_second(scenario, results[-1][1]), "")
    _say(f"{scenario.name}: {scenario.about}", summary(scenario, results))


def _scenario(text: str) -> Scenario:
    if text in BUILT_IN:
        return built_in(text)
    if not Path(text).exists():
        known = ", ".join(BUILT_IN)
        raise ConfigError("", f"no scenario is called {text} and there is no such file: {known}")
    return load_scenario(text)


def _policy(text: str) -> tuple[str, ServiceConfigLike]:
    """A name for the row, and a service config: the name of a balancer stands for one."""
    if re.fullmatch(r"[a-z_]+", text) and not Path(text).exists():
        config: ServiceConfigLike = {"loadBalancingConfig": [{text: {}}]}
        load_service_config(config)
        return text, config
    load_service_config(text)
    return ("JSON" if text.lstrip().startswith("{") else Path(text).stem), text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seawall.testing.simulate",
        description="Play a scenario in virtual time, with seawall's default policies and with "
        "yours, and compare. Without a scenario: list the built-in ones.",
        epilog="The same seed gives the same numbers; each policy meets the same calls.",
    )
    parser.add_argument(
        "scenario", nargs="?", help="the name of a built-in scenario, or a JSON file of your own"
    )
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="CONFIG",
        help="a service config, as a file or as JSON, or just a balancer's name such as "
        "round_robin; may be given several times",
    )
    parser.add_argument("--seed", type=int, default=1, help="of all chance; default: 1")
    parser.add_argument(
        "--seconds", type=float, help="how long clients call; default: as the scenario says"
    )
    parser.add_argument("--by-second", action="store_true", help="print each second as well")
    parser.add_argument("--show", action="store_true", help="print the scenario's JSON and exit")
    return parser


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
