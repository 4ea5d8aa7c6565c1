"""Scenarios as documents, and the command that plays them."""

import copy
import json
import subprocess
import sys

import pytest

import seawall
from seawall.testing.simulate.command import main
from seawall.testing.simulate.scenario import Scenario, load_scenario
from seawall.testing.simulate.scenarios import BUILT_IN, built_in

SMALL = {
    "about": "Small.",
    "seconds": 2,
    "within": 0.1,
    "windows": {"ill": [1, 2]},
    "networkDelay": 0.001,
    "replicas": [
        {"count": 2, "name": "a", "serviceTime": {"mean": 0.01, "cv": 0.5, "shape": "lognormal"}},
        {
            "serviceTime": 0.01,
            "workers": 2,
            "queue": 5,
            "dropExpired": False,
            "admission": {"target": 0.05, "pushback": 0, "cost": 0.001},
            "metadata": {"weight": 2},
        },
        {"workers": 1, "admission": {"shedding": True, "pushback": 0.1, "cost": 0.0002}},
    ],
    "clients": [
        {
            "rate": 100,
            "deadline": 0.5,
            "idempotent": True,
            "arrivals": "uniform",
            "batch": 2,
            "keys": 3,
            "method": "/shop.v1.Inventory/GetStock",
            "zone": "a",
            "criticality": {"critical": 1, "sheddable": 2},
            "name": "caller",
            "serviceConfig": {"loadBalancingConfig": [{"round_robin": {}}]},
        }
    ],
    "happenings": [
        {"at": 1, "for": 0.5, "replicas": [0], "do": "slow", "factor": 5},
        {"at": 1, "do": "rate", "rate": 50, "for": 0.2},
        {"at": 0.1, "every": 0.5, "for": 0.1, "spread": True, "do": "freeze", "replicas": [1]},
        {"at": 1.5, "do": "fail", "code": "INTERNAL", "share": 0.5, "after": 0, "replicas": [2]},
        {"at": 1.8, "do": "recover"},
    ],
}


def test_a_document_is_a_fleet():
    fleet = Scenario(SMALL).fleet(seed=3)
    assert [replica.name for replica in fleet.replicas] == ["a-0", "a-1", "replica-2", "replica-3"]
    assert fleet.clients[0].name == "caller"
    result = fleet.run(2.0)
    assert len(result) == pytest.approx(190, abs=6)
    assert result.errors(0.0, 1.4) == {}
    assert fleet.replicas[2].tally.failed > 0


def test_what_happens_for_a_while_is_undone():
    fleet = Scenario(SMALL | {"happenings": [{"at": 0.5, "for": 0.5, "do": "kill"}]}).fleet()
    seen = []
    for when in (0.4, 0.9, 1.1):
        fleet.at(when, lambda: seen.append(fleet.replicas[0].is_dead))
    fleet.run(2.0)
    assert seen == [False, True, False]


def test_what_happens_every_so_often_happens_to_each_at_a_time_of_its_own():
    happening = {"every": 0.5, "for": 0.1, "spread": True, "do": "freeze"}
    fleet = Scenario(SMALL | {"happenings": [happening]}).fleet()
    fleet.run(2.0)
    assert [replica.freezes for replica in fleet.replicas] == [4, 4, 4, 4]


def test_a_policy_takes_the_place_of_the_documents_own():
    never = {"methodConfig": [{"name": [{}], "seawall": {"retries": False}}]}
    document = SMALL | {
        "clients": [{"rate": 50, "deadline": 0.3}],
        "happenings": [{"at": 0.5, "do": "fail", "replicas": [0]}],
    }
    retried = Scenario(document)
    assert retried.run(1).attempts_per_call() > retried.run(1, never).attempts_per_call() == 1.0
    assert Scenario(document | {"serviceConfig": never}).run(1) == retried.run(1, never)


WRONG = [
    ("seconds", None, "seconds: must be a number, not nothing"),
    ("replicas", [], "replicas: must list at least one"),
    ("clients", [], "clients: must list at least one"),
    ("clients.0.rate", None, "clients[0].rate: must be a number"),
    ("clients.0.rte", 5, "clients[0].rte: is not a field that seawall knows; did you mean rate?"),
    ("clients.0.arrivals", "bursts", "clients[0].arrivals: must be poisson or uniform"),
    ("replicas.0.serviceTime.shape", "flat", "replicas[0].serviceTime.shape: must be one of"),
    ("replicas.1.workers", 0, "replicas[1].workers: must be a whole number of 1 or more"),
    ("replicas.2.workers", 2, "replicas[2].admission: Shedding() needs workers=1, not 2"),
    ("replicas.2.admission.target", 1, "replicas[2].admission.target: is not a field"),
    ("clients.0.criticality.vital", 1, "clients[0].criticality.vital: is not a field that seawall"),
    ("clients.0.criticality", {"critical": 0}, "clients[0].criticality: must have a class"),
    ("happenings.0.do", "explode", "happenings[0].do: must be one of slow, speed, fail, rate"),
    ("happenings.0.factor", None, "happenings[0].factor: must be a number, not nothing"),
    ("happenings.0.replicas", [4], "happenings[0].replicas: must be a list of numbers from 0 to 3"),
    ("happenings.3.code", "OK", "happenings[3].code: must be a status code"),
    ("happenings.4.for", 1, "happenings[4].for: makes no sense with recover"),
    (
        "clients.0.serviceConfig",
        {"seawall": {"retryBudget": {"ratio": 2}}},
        "clients[0].serviceConfig.seawall.retryBudget.ratio: must be a number at least 0",
    ),
    ("windows", [1], "windows: must be an object"),
    ("windows.ill", [2, 1], "windows.ill: must be [from, to] in seconds"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[path for path, _, _ in WRONG])
def test_what_is_wrong_is_named(path, value, words):
    document = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    inner = document
    for name in parents:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = value
    with pytest.raises(seawall.ConfigError) as caught:
        Scenario(document)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_scenario_plays(name, capsys):
    scenario = built_in(name)
    assert scenario.about.endswith(".")
    assert main([name, "--seconds", "0.3"]) == 0
    table = capsys.readouterr().out
    assert "defaults" in table and "good %" in table


def test_the_command_compares_policies(tmp_path, capsys):
    path, config = tmp_path / "small.json", tmp_path / "no-retries.json"
    path.write_text(json.dumps({k: v for k, v in SMALL.items() if k != "windows"}))
    config.write_text('{"methodConfig": [{"name": [{}], "seawall": {"retries": false}}]}')
    policies = ["--policy", "round_robin", "--policy", str(config), "--policy", "{}"]
    assert main([str(path), *policies, "--by-second", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    rows = out[out.index("policy ") :].splitlines()
    assert [row.split()[0] for row in rows] == [
        "policy",
        "defaults",
        "round_robin",
        "no-retries",
        "JSON",
    ]
    assert "small, no-retries:" in out


def test_the_command_lists_and_shows(capsys):
    assert main([]) == 0
    assert all(name in capsys.readouterr().out for name in ["linkerd"])
    assert main(["linkerd", "--show"]) == 0
    assert json.loads(capsys.readouterr().out) == BUILT_IN["linkerd"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["linkred"], "no scenario is called linkred"),
        (["linkerd", "--policy", "fastest"], "knows none of fastest"),
        (["linkerd", "--policy", "/no/such.json"], "can't be read"),
        (["linkerd", "--seconds", "0"], "--seconds"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_file_that_is_no_scenario_is_named(tmp_path):
    path = tmp_path / "broken.json"
    for text, words in (("{", "is not JSON"), ("[]", "must be a JSON object")):
        path.write_text(text)
        with pytest.raises(seawall.ConfigError, match=words):
            load_scenario(path)
    with pytest.raises(seawall.ConfigError, match="can't be read"):
        load_scenario(tmp_path / "missing.json")


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "seawall.testing.simulate", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert "--policy" in run.stdout
