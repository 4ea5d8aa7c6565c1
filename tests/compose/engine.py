"""A Docker engine: the one that runs here, or one of our own that ends with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
"""Of the repository."""
_STARTED: Final = time.monotonic()


class NoEngine(Exception):
    """There is no Docker engine, or none that can run compose files; the text says what misses."""


class Broken(Exception):
    """Something did not hold; the text says what."""


def say(text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - _STARTED:6.1f} s] {text}\n")
    sys.stdout.flush()


def wait_for(what: str, seconds: float, found: Callable[[], T | None]) -> T:
    """What ``found`` returns as soon as it is true. Raises ``Broken`` after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        if value := found():
            return value
        if time.monotonic() > end:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(0.25)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
    check: bool = True,
    shown: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository. Raises ``Broken``, with the end of what it said.

    ``shown``: its output goes to ours, as it comes.
    """
    pipe = None if shown else subprocess.PIPE
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise Broken(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Broken(f"not done within {seconds:g} s: {' '.join(command)}") from None
    if check and done.returncode:
        said = "\n".join(((done.stdout or "") + (done.stderr or "")).splitlines()[-25:])
        raise Broken(f"{' '.join(command)} failed with {done.returncode}:\n{said}")
    return done


class Engine:
    """Where containers run, and the two commands for it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self.compose: list[str] = []

    def docker(
        self, *arguments: str, seconds: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return run(["docker", *arguments], env=self.env, seconds=seconds, check=check)

    def ask(self) -> str:
        """Its version. Raises ``NoEngine``."""
        if shutil.which("docker") is None:
            raise NoEngine("the command docker is not installed")
        asked = self.docker("version", "--format", "{{.Server.Version}}", check=False)
        if asked.returncode:
            raise NoEngine(asked.stderr.strip().splitlines()[-1])
        for compose in (["docker", "compose"], ["docker-compose"]):
            with contextlib.suppress(Broken):
                said = run([*compose, "version"], env=self.env).stdout.splitlines()[0]
                self.compose = compose
                return f"Docker {asked.stdout.strip()}, {said}"
        raise NoEngine("neither docker compose nor docker-compose is installed")


@contextlib.contextmanager
def engine(*, own: bool) -> Iterator[Engine]:
    """The engine that the environment names; with ``own`` one that is started if there is none.

    Raises ``NoEngine``.
    """
    found = Engine({})
    try:
        say(found.ask())
    except NoEngine:
        if not own or found.compose or shutil.which("dockerd") is None or os.geteuid() != 0:
            raise
    else:
        yield found
        return
    with _started() as started:
        say(f"{started.ask()}, started for this test")
        yield started


@contextlib.contextmanager
def _started() -> Iterator[Engine]:
    """A ``dockerd`` with nothing in it, and all of whose files are removed."""
    # Not in /tmp, which may be memory, and may not carry overlays.
    directory = Path(tempfile.mkdtemp(prefix="seawall-engine-", dir="/var/tmp"))
    host, log = f"unix://{directory}/docker.sock", directory / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            ["dockerd", "--host", host, "--data-root", str(directory / "data"),
             "--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    started = Engine({"DOCKER_HOST": host})
    try:
        _await_daemon(daemon, started, log)
        yield started
    finally:
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


def _await_daemon(daemon: subprocess.Popen[bytes], started: Engine, log: Path) -> None:
    def answers() -> bool:
        if daemon.poll() is not None:
            last = log.read_text(errors="replace").splitlines()[-5:]
            raise NoEngine("dockerd did not start:\n" + "\n".join(last))
        return started.docker("info", check=False).returncode == 0

    try:
        wait_for("dockerd answers", 60, answers)
    except Broken as error:
        raise NoEngine(str(error)) from None
