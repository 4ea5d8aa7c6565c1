"""What lies in deploy/ agrees with the code and with itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from seawall.telemetry import catalogue, prometheus
from tests.compose.bases import REPLACED, from_registries
from tests.compose.engine import ROOT
from tests.compose.instruments import DASHBOARD, DEPLOY, expressions
from tests.compose.scenes import SCENES
from tests.compose.stack import ETCD, SHOP

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERTS_TEST = DEPLOY / "prometheus" / "alerts_test.yml"
COMPOSE = ROOT / "docker-compose.yml"
OURS = re.compile(r"\b(?:seawall|grpc|process)_\w+")


def exported() -> set[str]:
    """Every name that a process can export, of series and of labels."""
    names: set[str] = set()
    for instrument in catalogue.ALL:
        name = prometheus.name_of(instrument)
        names |= {label.replace(".", "_") for label in instrument.labels}
        if instrument.kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(name)
    return names


def test_the_dashboard_asks_only_for_what_there_is() -> None:
    asked = {name for _, query in expressions() for name in OURS.findall(query)}
    assert len(asked) > 20
    assert asked <= exported()


@pytest.mark.parametrize("path", [ALERTS, ALERTS_TEST], ids=lambda path: path.name)
def test_the_alerts_ask_only_for_what_there_is(path: Any) -> None:
    asked = set(OURS.findall(path.read_text(encoding="utf-8")))
    assert len(asked) > 15
    assert asked <= exported()


def test_each_alert_is_shown_firing() -> None:
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    shown = ALERTS_TEST.read_text(encoding="utf-8")
    assert len(alerts) == len(set(alerts)) > 15
    assert [name for name in alerts if name not in shown] == []


def test_no_panel_lies_on_another() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_prometheus_scrapes_what_compose_runs() -> None:
    scraped = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    composed = COMPOSE.read_text(encoding="utf-8")
    (names,) = re.findall(r"names: \[(.*)\]", scraped)
    assert set(names.split(", ")) == {*SHOP, "load"}
    for service in (*SHOP, *ETCD, "load", "prometheus"):
        assert re.search(rf"^  {service}:$", composed, re.M)


def test_the_images_that_can_be_replaced_are_those_of_the_compose_file() -> None:
    assert set(from_registries()) == set(REPLACED)
    assert "FROM ${PYTHON_IMAGE}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_every_scene_says_what_it_is() -> None:
    assert all(scene.__doc__ for scene in SCENES.values())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "task", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_promtool_passes(task: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *task], cwd=DEPLOY / "prometheus", timeout=50, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
