"""The rooms and who may know whom; the public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import seawall

PACKAGE = Path(seawall.__file__).parent
SANS_IO = [
    *(PACKAGE / name for name in ("call.py", "errors.py", "events.py", "clock.py")),
    *(PACKAGE / "policy").glob("*.py"),
    *(PACKAGE / "balancer").glob("*.py"),
]


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", SANS_IO, ids=lambda path: path.name)
def test_of_grpc_the_core_knows_the_status_codes_alone(path):
    known = [(module, name) for module, name in imports(path) if module.split(".")[0] == "grpc"]
    assert set(known) <= {("grpc", "StatusCode")}


def test_the_import_contract_is_kept():
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command], cwd=PACKAGE.parents[1], capture_output=True, check=False)
    assert run.returncode == 0, run.stdout.decode()


def test_every_public_name_is_there_and_documented():
    for name in seawall.__all__:
        assert getattr(seawall, name).__doc__, name


def test_no_module_shares_a_name_with_a_public_function():
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert not modules & {n for n in seawall.__all__ if callable(getattr(seawall, n))}


def test_importing_seawall_does_not_import_what_most_do_not_need():
    heavy = [
        "opentelemetry.sdk", "seawall.registry.etcd", "seawall.testing", "importlib.metadata",
        "google.rpc", "seawall.statuses.details",
    ]  # fmt: skip
    code = f"import sys, seawall; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.strip() == b"[]"
