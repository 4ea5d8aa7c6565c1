"""What happens to a process: forks, its end, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sync.servers import LIMIT

ROOT = Path(__file__).parents[2]


class Program:
    """A program of ``programs``, and what it prints."""

    def __init__(self, name: str, address: str, **variables: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.sync.programs", name, address],
            cwd=ROOT, env={**os.environ, **variables}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[list[str], str]:
        """The lines that are left, and what came on stderr; it has ended well."""
        try:
            out, err = self._process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGABRT)  # with its child: tells where it hangs
            out, err = self._process.communicate(timeout=LIMIT)
            pytest.fail(f"it does not end: {out}\n{err}")
        assert self._process.returncode == 0, err
        return out.splitlines(), err


@pytest.fixture
def run(servers):
    service = servers.start()

    def begin(name: str, **variables: str) -> Program:
        program = Program(name, service.address, **variables)
        program.service = service  # type: ignore[attr-defined]
        return program

    return begin


@pytest.mark.parametrize(
    ("program", "support"),
    # With calls under way in other threads, gRPC's own fork handlers may hang if they are on.
    [("fork", "0"), ("fork_quietly", "0"), ("fork_quietly", "1")],
)
def test_after_a_fork_it_raises_and_hangs_nobody(run, program, support):
    lines, _ = run(program, GRPC_ENABLE_FORK_SUPPORT=support).end()
    assert lines[0] == "hello"
    uses = ("blocking", "future", "stream", "upload", "conversation", "stub", "subscribe")
    uses_of_calls = ("result", "cancel", "callback", "next", "unsubscribe")
    assert lines[1:13] == [f"{use}: True" for use in uses + uses_of_calls]
    assert lines[13:] == ["closed in the child", "child: 7", "hello"]


def test_the_interpreter_ends_with_an_open_channel(run):
    lines, err = run("open_at_exit").end()
    assert lines == ["hello", "leaving"] and err == ""


def test_ctrl_c_cancels_a_blocking_call(run, servers):
    program = run("interrupted")
    assert program.line() == "hello"
    servers.run(_running_again(program.service))
    program.interrupt()
    lines, _ = program.end()
    assert lines == ["interrupted", "outstanding: [0]", "active: 0", "hello"]
    servers.happened(program.service.cancelled)


async def _running_again(service) -> None:
    import asyncio

    async with asyncio.timeout(LIMIT):
        while len(service.seen) < 2:
            await asyncio.sleep(0.01)


def test_a_signal_handler_may_raise_in_a_blocking_call(run):
    """It comes out, and is not taken for a failed attempt."""
    lines, _ = run("time_limit").end()
    assert lines[1:4] == ["the task's time is up"] * 3
    assert lines[4:] == ["outstanding: [0]", "active: 0", "hello"]


def test_when_the_main_thread_has_ended_others_go_on(run, tmp_path):
    path = tmp_path / "service_config.json"
    entry = {"name": [{"service": "seawall.tests.Echo"}], "timeout": "9s"}
    path.write_text(json.dumps({"methodConfig": [entry]}))
    lines, err = run("main_ends", CONFIG=str(path)).end()
    assert lines == ["hello", "obeyed: True"] and err == ""


def test_ctrl_c_while_waiting_for_an_instance(run):
    program = run("interrupted_waiting")
    assert program.line() == "waiting"
    program.interrupt()
    assert program.end()[0] == ["interrupted", "waiting: 0 active: 0"]


def test_a_signal_handler_may_close_the_channel_at_any_moment(run):
    """It runs on the main thread, in the midst of a step as likely as not."""
    assert run("closed_by_signals").end()[0] == ["closed each time"]
