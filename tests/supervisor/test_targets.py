"""Services by name."""

import subprocess
import sys

import pytest

import seawall
from seawall.server.targets import load, name_of
from tests.echo import EchoService
from tests.supervisor.programs import ROOT


def test_a_name_leads_back_to_the_class():
    assert name_of(EchoService) == "tests.echo:EchoService"
    assert load("tests.echo:EchoService") is EchoService


def test_a_class_that_has_no_name_in_its_module_is_refused():
    class Local(EchoService):
        pass

    with pytest.raises(seawall.ConfigError, match="not a name at the top of"):
        name_of(Local)


def run(*arguments, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], input=stdin, cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


PROGRAM = "import seawall\nclass Shop(seawall.Service): pass\n"
ASK = "from seawall.server.targets import name_of\nprint(name_of(Shop))\n"


@pytest.fixture
def program(tmp_path):
    """A file with a service that is run as a program, and asks for its own name."""

    def write(name: str, code: str = PROGRAM + ASK):
        (tmp_path / name).write_text(code)
        return str(tmp_path / name)

    return write


def test_a_program_run_by_its_file_is_a_module_of_that_name(program):
    assert run(program("shop.py")).stdout == "shop:Shop\n"


def test_a_program_run_by_its_module_has_that_name(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "wares").mkdir()
    program("wares/shop.py")
    assert run("-m", "wares.shop").stdout == "wares.shop:Shop\n"


@pytest.mark.parametrize("name", ["my-shop.py", "json.py.txt"])
def test_a_file_that_cannot_be_imported_is_refused_with_what_mends_it(program, name):
    done = run(program(name))
    assert "which other processes can't import: put it into a module" in done.stderr


def test_a_program_without_a_file_is_refused():
    done = run("-", stdin=PROGRAM + ASK)
    assert "other processes can't import" in done.stderr
