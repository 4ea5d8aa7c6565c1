"""Each fault of etcd, on real processes: nothing fails, nothing is lost, nobody spins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.faults.rows import SCENARIOS
from tests.faults.runner import CLEAN_UP, ROOT
from tests.faults.scenario import Result, verdict

LIMIT = 280.0
"""Seconds for all rows together; they take about 45 on two idle cores."""

pytestmark = pytest.mark.timeout(LIMIT + 2 * CLEAN_UP)


@pytest.fixture(scope="session")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Result]:
    """The rows that were selected, all played at once: most of a row's time is waiting."""
    names = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function.__module__ == __name__
    ]
    written = tmp_path_factory.mktemp("faults") / "results.json"
    _run([sys.executable, "-m", "tests.faults", *names, "--json", str(written)])
    return {facts["name"]: Result(**facts) for facts in json.loads(written.read_text())}


@pytest.mark.parametrize("name", SCENARIOS)
def test_fault(name: str, played: dict[str, Result]) -> None:
    row = played[name]
    assert not verdict(row), "\n".join([*verdict(row), *row.story])
    assert row.calls > 0
    assert row.duration
    assert row.whole is not None
    assert row.cpu is not None


def _run(command: list[str]) -> None:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        printed, _ = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # it ends its rows
            process.communicate(timeout=CLEAN_UP)
    assert process.returncode in (0, 1), printed.decode()
