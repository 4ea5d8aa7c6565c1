"""Workers as real processes, under load, with signals that nobody expects."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

import seawall
from seawall.supervisor import Timing
from seawall.testing.etcd import free_ports
from tests.fleet import Load
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.supervisor.programs import LIMIT, SEAWALL, Command, exists, gone

SERVES = r"worker \d \(pid \d+\) serves"


@pytest.fixture
def url(tmp_path):
    return f"local://{tmp_path / 'registry'}"


@pytest.mark.parametrize("victims", [(1, 1, 1), (1, 2, 1)], ids=["the same", "in turn"])
async def test_kill_9_of_one_worker_after_the_other_under_load(url, victims):
    """Each as soon as the one before serves again; not one idempotent call fails. How long they
    take is measured by ``python -m bench.kills``."""
    async with Command("--workers", "2", "--registry", url) as command:
        pids = {number: await command.pid(number) for number in (1, 2)}
        async with seawall.connect(url) as channel:
            async with Load(pb_grpc.EchoStub(channel).Say, rate=100) as load:
                for number in pids:
                    await load.reaches(await command.address(number))
                for kills, number in enumerate(victims):
                    victim, process = pids[number], victims[:kills].count(number) + 2
                    os.kill(victim, signal.SIGKILL)
                    pids[number] = await command.pid(number, process)
                    await load.reaches(await command.address(number, process))
                    assert command.said(
                        rf"worker {number} \(pid {victim}\) was killed by SIGKILL: "
                        "started again at once"
                    )
                await load.more(50)
        assert load.failures == []
        command.send(signal.SIGTERM)
        assert await command.ended() == 0


async def test_a_frozen_worker_is_replaced(url):
    async with Command("--workers", "2", "--registry", url, "--hang-timeout", "2") as command:
        frozen = await command.pid(1)
        await command.pid(2)
        async with seawall.connect(url) as channel:
            async with Load(pb_grpc.EchoStub(channel).Say, rate=50) as load:
                await load.more(50)
                os.kill(frozen, signal.SIGSTOP)
                await command.says(rf"worker 1 \(pid {frozen}\) has given no sign of life")
                await command.pid(1, 2)
                await load.more(50)
        assert not exists(frozen)
        assert load.failures == []


async def test_a_worker_whose_loop_is_blocked_is_replaced(url):
    """By a handler that never gives the loop back; the thread that answers for it says so."""
    program = (str(SEAWALL), "run", "tests.supervisor.blocking:Blocking")
    arguments = ("--workers", "2", "--registry", url, "--hang-timeout", "3")
    async with Command(*arguments, program=program) as command:
        await command.says(SERVES, 2)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            call = stub.Charge(pb.EchoRequest(), timeout=LIMIT)
            async with Load(stub.Say, rate=20) as load:
                await command.says(r"worker \d \(pid \d+\) has given no sign of life for \d")
                await command.says(SERVES, 3)
                await load.more(20)
            with pytest.raises(seawall.CallError):
                await call  # it has effects, so nobody tries it again
        assert load.failures == []


@pytest.mark.timeout(150)
async def test_ten_rolling_restarts_under_load(url):
    async with Command("--workers", "2", "--registry", url) as command:
        await command.says(SERVES, 2)
        async with seawall.connect(url) as channel:
            async with Load(pb_grpc.EchoStub(channel).Say, rate=50) as load:
                for number in range(1, 11):
                    command.send(signal.SIGHUP)
                    await command.says("rolling restart done", number)
                await load.more(50)
        assert load.failures == []
        assert len(command.pids) == 22
        assert len([pid for pid in command.pids if exists(pid)]) == 2
        command.send(signal.SIGTERM)
        assert await command.ended() == 0


def two_ports() -> int:
    """The first of two ports in a row that nobody listens on."""
    for port in free_ports(100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("there are no two free ports in a row")


async def test_a_rolling_restart_on_fixed_ports(url):
    first = two_ports()
    async with Command("--workers", "2", "--registry", url, "--port", str(first)) as command:
        await command.says(rf"worker 1 .* serves at 127\.0\.0\.1:{first}")
        await command.says(rf"worker 2 .* serves at 127\.0\.0\.1:{first + 1}")
        async with seawall.connect(url) as channel:
            async with Load(pb_grpc.EchoStub(channel).Say, rate=50) as load:
                command.send(signal.SIGHUP)
                await command.says("rolling restart done")
                await load.more(20)
        assert load.failures == []
        assert len(command.said(rf"serves at 127\.0\.0\.1:{first}$")) == 2


@pytest.fixture
def short():
    """A directory with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sw", dir="/tmp") as made:
        yield Path(made)


async def test_no_worker_outlives_its_supervisor(url, short, tmp_path):
    """It was killed, so it could not tell them: calls under way are finished all the same."""
    places = {"TMPDIR": str(short), "XDG_RUNTIME_DIR": str(tmp_path)}
    command = Command("--workers", "2", "--registry", url, **places)
    async with command, seawall.connect(url) as channel:
        await command.says(SERVES, 2)
        assert len(list(short.glob("seawall-*/*.sock"))) == 2
        stub = pb_grpc.EchoStub(channel)
        call = stub.Charge(pb.EchoRequest(text="slow", delay=0.5))
        await stub.Say(pb.EchoRequest())
        command.send(signal.SIGKILL)
        assert (await call).text == "slow"
        for pid in command.pids:
            await gone(pid)
    assert list(short.iterdir()) == []


async def test_ctrl_c_reaches_all_and_means_one_stop(url):
    """A terminal sends SIGINT to the whole group; ``timeout`` sends SIGTERM twice."""
    async with Command("--workers", "2", "--registry", url) as command:
        await command.says(SERVES, 2)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            call = stub.Charge(pb.EchoRequest(text="slow", delay=0.5))
            await stub.Say(pb.EchoRequest())
            for pid in command.pids:
                os.kill(pid, signal.SIGINT)
            command.send(signal.SIGINT)
            for pid in command.pids:
                os.kill(pid, signal.SIGTERM)
            assert (await call).text == "slow"
        assert await command.ended() == 0
        assert not any(exists(pid) for pid in command.pids)
        assert not command.said("(?i)goaway"), "what the supervisor asks with breaks first"


async def test_a_second_signal_kills_all(url):
    async with Command("--workers", "2", "--registry", url) as command:
        await command.says(SERVES, 2)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            calls = [stub.Charge(pb.EchoRequest(delay=60), timeout=60) for _ in range(4)]
            await stub.Say(pb.EchoRequest())
            command.send(signal.SIGTERM)
            await command.says("seawall.supervisor: stopping 2 workers")
            await asyncio.sleep(Timing().echo)  # before that it is the same wish
            command.send(signal.SIGTERM)
            assert await command.ended() == 130
            assert command.said(r"asked to stop once more: killing \d worker"), "those with calls"
            await asyncio.gather(*calls, return_exceptions=True)
        assert not any(exists(pid) for pid in command.pids)


async def test_a_worker_that_is_asked_to_leave_is_replaced(url):
    async with Command("--workers", "1", "--registry", url) as command:
        os.kill(await command.pid(1), signal.SIGTERM)
        await command.says(r"worker 1 \(pid \d+\) left by itself: started again")
        await command.pid(1, 2)


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("tests.nothing:Echo", (), "^seawall: there is no module 'tests.nothing'"),
        (
            "tests.echo:EchoService",
            ("--registry", "etcd://127.0.0.1:1"),
            r"^seawall: .*127\.0\.0\.1:1",
        ),
        ("tests.supervisor.broken:Broken", (), "^RuntimeError: broken on purpose"),
        (
            "tests.supervisor.unguarded:Unguarded",
            (),
            "^seawall: .* put it below if __name__ == '__main__'",
        ),
    ],
)
async def test_what_is_wrong_from_the_beginning_is_told_once(target, arguments, said):
    program = (str(SEAWALL), "run", target)
    async with Command("--workers", "3", *arguments, program=program) as command:
        assert await command.ended() == 1
    assert len(command.said(said)) == 1, "\n".join(command.log)
    assert command.said(r"worker 1 \(pid \d+\) exited with status 1 before it served: giving up")


async def test_a_second_worker_that_cannot_start_ends_the_first_one(url):
    """The port of the second one is taken."""
    port = two_ports()
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", port + 1):
        async with Command("--workers", "2", "--registry", url, "--port", str(port)) as command:
            assert await command.ended() == 1
        assert command.said(f"can't listen on 127.0.0.1 port {port + 1}: Address already in use")
        assert command.said(r"worker 2 \(pid \d+\) exited with status 1 before it served")
        assert not any(exists(pid) for pid in command.pids)


PROGRAM = """
from tests.echo import EchoService

class Shop(EchoService):
    pass

def hook(event):
    print("the hook has heard:", event, file=__import__("sys").stderr, flush=True)

if __name__ == "__main__":
    Shop.run(workers=2, on_event=hook)
"""


async def test_run_with_workers_in_a_program(tmp_path, url):
    """The workers load it as a module of its file's name."""
    path = tmp_path / "shop_of_a_test.py"
    path.write_text(PROGRAM)
    program = (sys.executable, str(path))
    async with Command(program=program, SEAWALL_REGISTRY=url) as command:
        await command.says("the hook has heard: worker [12] .* serves", 2)
        command.send(signal.SIGTERM)
        assert await command.ended() == 0


class Terminal:
    """A terminal that a command is started in, and that can be closed."""

    def __init__(self) -> None:
        self._ours, theirs = os.openpty()
        self.name = os.ttyname(theirs)
        os.close(theirs)

    def close(self) -> None:
        os.close(self._ours)


# What a login does: a session of its own, whose first terminal is the one that it opens.
IN_TERMINAL = """
import os, signal, sys
os.setsid()
os.open(sys.argv[1], os.O_RDWR)
# Either way, whatever the tests themselves were told.
told = signal.SIG_IGN if sys.argv[2] == "nohup" else signal.SIG_DFL
signal.signal(signal.SIGHUP, told)
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("manner", ["plainly", "nohup"])
async def test_a_terminal_that_closes_stops_it_unless_it_was_told_to_survive(url, manner):
    terminal = Terminal()
    program = (
        sys.executable, "-c", IN_TERMINAL, terminal.name, manner, str(SEAWALL), "run",
        "tests.echo:EchoService", "--workers", "1", "--registry", url,
    )  # fmt: skip
    async with Command(program=program) as command:
        await command.says(SERVES)
        terminal.close()
        if manner == "nohup":
            os.kill(await command.pid(1), signal.SIGKILL)
            await command.pid(1, 2)
            assert not command.said("rolling restart")
            command.send(signal.SIGTERM)
        assert await command.ended() == 0
