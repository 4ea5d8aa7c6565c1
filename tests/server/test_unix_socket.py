"""A server listens on a Unix socket of its own, for callers on the same host."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import seawall
from seawall.call import Instance
from seawall.errors import ConfigError
from seawall.registry import open_registry
from seawall.server.listening.unix_socket import remove_leftovers
from seawall.server.settings import Settings
from seawall.testing.etcd import free_ports
from seawall.transport import same_host
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.server.test_run import process, serving
from tests.sockets import Peers
from tests.transport.test_unary import until

SERVICE = "seawall.tests.Echo"
REQUEST = pb.EchoRequest(text="hello")


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """A runtime directory of this test's own, with a path that is short enough."""
    made = Path(tempfile.mkdtemp(prefix="sw")).resolve()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made))
    monkeypatch.delenv("SEAWALL_UNIX_SOCKET", raising=False)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def sockets(runtime):
    """Where the sockets are to be."""
    return runtime / "seawall" / "sockets"


async def facts_at(registry) -> list[dict]:
    """What the registry lists of each instance, once it lists any."""
    opened = open_registry(registry)
    try:
        async with asyncio.timeout(10):
            async for instances in opened.lists(SERVICE):
                if instances:
                    return [dict(one.metadata) for one in instances]
    finally:
        await opened.close()
    raise AssertionError("the registry was closed")


def leave(directory, *, age=3600.0, name=None) -> Path:
    """A socket as a process leaves it that was killed ``age`` seconds ago."""
    path = directory / (name or same_host.new_name())
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    backdate(path, age)
    return path


def backdate(path, age=3600.0) -> None:
    os.utime(path, (time.time() - age,) * 2)


def mode_of(path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- listening ------------------------------------------------------------------------------------


async def test_it_listens_on_a_private_socket_and_is_called_there(registry, start, echo, sockets):
    service = await start()
    peers = Peers(service)
    await echo.Charge(REQUEST)
    assert peers.seen == ["unix"]
    [path] = sockets.iterdir()
    assert path.is_socket() and same_host.is_name(path.name)
    assert [mode_of(p) for p in (path, sockets, sockets.parent)] == [0o600, 0o700, 0o700]
    [facts] = await facts_at(registry)
    assert facts["socket"] == str(path)
    assert facts["host"] == same_host.host_id()
    await service.stop()
    assert list(sockets.iterdir()) == []


async def test_the_umask_makes_no_difference(start, sockets):
    before = os.umask(0)
    try:
        await start()
    finally:
        os.umask(before)
    [path] = sockets.iterdir()
    assert [mode_of(p) for p in (path, sockets, sockets.parent)] == [0o600, 0o700, 0o700]


async def test_each_server_has_its_own(start, echo, channel, sockets):
    services = [await start(), await start()]
    peers = Peers(*services)
    await until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == 2)
    instances = {(await echo.Say(REQUEST)).instance for _ in range(20)}
    assert instances == {service.address for service in services}
    assert set(peers.seen) == {"unix"}
    assert len(list(sockets.iterdir())) == 2


async def test_it_is_called_over_tcp_as_well(start):
    service = await start()
    peers = Peers(service)
    async with seawall.connect(f"static://{service.address}") as channel:
        await pb_grpc.EchoStub(channel).Charge(REQUEST)
    assert peers.seen == ["ipv4"]


async def test_a_start_that_fails_leaves_no_socket(registry, sockets):
    class Broken(EchoService):
        async def on_start(self):
            assert len(list(sockets.iterdir())) == 1
            raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        await Broken(registry=registry).start()
    assert list(sockets.iterdir()) == []


async def test_a_socket_removed_while_it_runs(registry, start, echo, sockets):
    service = await start()
    peers = Peers(service)
    await echo.Charge(REQUEST)
    [path] = sockets.iterdir()
    path.unlink()
    await echo.Charge(REQUEST)
    async with seawall.connect(registry) as late:
        await pb_grpc.EchoStub(late).Charge(REQUEST)
    assert peers.seen == ["unix", "unix", "ipv4"]
    await service.stop()


async def test_another_process_is_called_over_it(sockets, runtime, registry):
    """Its TCP address is put out of use, so that no other way is left."""
    url = f"local://{runtime / 'registry'}"
    async with process("run", "tests.echo:EchoService", "--registry", url) as child:
        address = await serving(child)
        [facts] = await facts_at(url)
        opened = open_registry(registry)
        nowhere = f"127.0.0.1:{free_ports(1)[0]}"
        await opened.register([Instance(SERVICE, "one", nowhere, facts)])
        async with seawall.connect(opened) as channel:
            reply = await pb_grpc.EchoStub(channel).Charge(REQUEST, timeout=20)
            assert reply.instance == address
        await opened.close()
        child.terminate()
        async with asyncio.timeout(10):
            assert await child.wait() == 0
    assert list(sockets.iterdir()) == []


# --- doing without --------------------------------------------------------------------------------


async def test_without_it_calls_are_tcp_and_the_host_is_still_told(registry, start, echo, sockets):
    peers = Peers(await start(unix_socket=False))
    await echo.Charge(REQUEST)
    assert peers.seen == ["ipv4"]
    [facts] = await facts_at(registry)
    assert "socket" not in facts and facts["host"] == same_host.host_id()
    assert not sockets.exists()


async def test_the_command_line_can_do_without_it(runtime, sockets):
    url = f"local://{runtime / 'registry'}"
    arguments = ("run", "tests.echo:EchoService", "--registry", url, "--no-unix-socket")
    async with process(*arguments) as child:
        await serving(child)
        [facts] = await facts_at(url)
    assert "socket" not in facts and not sockets.exists()


@pytest.mark.parametrize(
    ("given", "said", "advertise", "on"),
    [
        (None, None, None, True),
        (None, "", None, True),
        (None, "on", None, True),
        (None, " Off ", None, False),
        (True, "off", None, True),
        (False, "on", None, False),
        (None, None, "proxy:443", False),
        (None, "on", "proxy:443", True),
        (True, None, "proxy:443", True),
    ],
)
def test_what_decides_whether_there_is_one(monkeypatch, given, said, advertise, on):
    if said is not None:
        monkeypatch.setenv("SEAWALL_UNIX_SOCKET", said)
    assert Settings(unix_socket=given, advertise=advertise).resolved().unix_socket is on


@pytest.mark.parametrize("said", ["yes", "1", "/tmp/mine.sock", "onoff"])
def test_another_word_in_the_environment_is_refused(monkeypatch, said):
    monkeypatch.setenv("SEAWALL_UNIX_SOCKET", said)
    with pytest.raises(ConfigError, match="SEAWALL_UNIX_SOCKET: must be on or off, not '"):
        Settings().resolved()


@pytest.mark.parametrize("given", ["off", 0, "/tmp/mine.sock"])
def test_another_argument_is_refused(given):
    with pytest.raises(ConfigError, match="unix_socket: must be True or False, not "):
        Settings(unix_socket=given).resolved()


def a_file(runtime):
    (runtime / "seawall").write_text("")


def a_file_below(runtime):
    (runtime / "seawall").mkdir()
    (runtime / "seawall" / "sockets").write_text("")


def entered_by_others(runtime):
    (runtime / "seawall" / "sockets").mkdir(parents=True)
    (runtime / "seawall" / "sockets").chmod(0o711)


def written_to_by_others(runtime):
    (runtime / "seawall").mkdir()
    (runtime / "seawall").chmod(0o777)


def a_link(runtime):
    (runtime / "elsewhere").mkdir(mode=0o700)
    (runtime / "seawall").symlink_to(runtime / "elsewhere")


def a_link_to_nothing(runtime):
    (runtime / "seawall").symlink_to(runtime / "nothing")


@pytest.mark.parametrize(
    "spoil",
    [a_file, a_file_below, entered_by_others, written_to_by_others, a_link, a_link_to_nothing],
    ids=lambda spoil: spoil.__name__,
)
async def test_where_none_can_be_made_tcp_does(spoil, runtime, registry, start, echo, caplog):
    spoil(runtime)
    with caplog.at_level(logging.INFO, "seawall"):
        peers = Peers(await start())
        await echo.Charge(REQUEST)
    assert peers.seen == ["ipv4"]
    [facts] = await facts_at(registry)
    assert "socket" not in facts
    [said] = [r for r in caplog.records if "served over TCP only" in r.message]
    assert said.levelname == "INFO" and "SEAWALL_UNIX_SOCKET=off" in said.message
    assert str(runtime / "seawall") in said.message


async def test_where_grpc_cannot_bind_tcp_does(start, echo, sockets, monkeypatch, caplog):
    """As on a file system that has no sockets."""
    monkeypatch.setattr(same_host, "target_of", lambda path: "unix:/nonexistent/socket")
    with caplog.at_level(logging.INFO, "seawall"):
        peers = Peers(await start())
        await echo.Charge(REQUEST)
    assert peers.seen == ["ipv4"]
    assert "served over TCP only" in caplog.text
    assert list(sockets.iterdir()) == []


async def test_a_path_that_is_too_long_is_no_news(runtime, start, echo, monkeypatch, caplog):
    deep = runtime / ("x" * 60)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with caplog.at_level(logging.DEBUG, "seawall.server"):
        peers = Peers(await start())
        await echo.Charge(REQUEST)
    assert peers.seen == ["ipv4"]
    [said] = [r for r in caplog.records if "no Unix socket" in r.message]
    assert said.levelname == "DEBUG" and "longer than 107 bytes" in said.message


async def test_on_a_host_without_an_id_there_is_none(registry, start, echo, monkeypatch, caplog):
    monkeypatch.setattr(same_host, "host_id", lambda: None)
    with caplog.at_level(logging.INFO, "seawall"):
        peers = Peers(await start())
        await echo.Charge(REQUEST)
    assert peers.seen == ["ipv4"]
    [facts] = await facts_at(registry)
    assert not facts.keys() & {"host", "socket"}
    assert "served over TCP only" in caplog.text


# --- what killed processes leave ------------------------------------------------------------------


async def test_what_a_killed_process_left_is_removed_later(runtime, sockets, start):
    url = f"local://{runtime / 'registry'}"
    async with process("run", "tests.echo:EchoService", "--registry", url) as child:
        await serving(child)
        child.kill()
        await child.wait()
        [left] = sockets.iterdir()
        await start()
        assert left.exists()  # too young to be told from one that is being made
        backdate(left)
        await start()
        assert not left.exists()
        assert len(list(sockets.iterdir())) == 2


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
async def test_a_living_ones_is_never_removed(runtime, sockets, frozen):
    url = f"local://{runtime / 'registry'}"
    async with process("run", "tests.echo:EchoService", "--registry", url) as child:
        await serving(child)
        if frozen:
            child.send_signal(signal.SIGSTOP)
        [path] = sockets.iterdir()
        backdate(path)
        for _ in range(3):
            remove_leftovers(sockets)
        assert path.exists()
        child.send_signal(signal.SIGCONT)
        async with seawall.connect(url) as channel:
            await pb_grpc.EchoStub(channel).Say(REQUEST, timeout=20)


async def test_a_server_that_is_not_started_yet_is_alive(registry, sockets):
    """It listens, and waits for what it depends on."""

    class Slow(EchoService):
        async def on_start(self):
            [path] = sockets.iterdir()
            backdate(path)
            remove_leftovers(sockets)
            assert path.exists()

    async with Slow(registry=registry):
        assert len(list(sockets.iterdir())) == 1


def test_one_with_a_full_line_is_alive(sockets):
    sockets.mkdir(mode=0o700, parents=True)
    path = sockets / same_host.new_name()
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(0)
        backdate(path)
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        remove_leftovers(sockets)
        assert path.exists()


def test_only_what_is_left_of_ours_is_removed(sockets):
    sockets.mkdir(mode=0o700, parents=True)
    left = [leave(sockets) for _ in range(3)]
    kept = [
        leave(sockets, name="agent.sock"),
        leave(sockets, age=10),
        sockets / same_host.new_name(),
        sockets / same_host.new_name(),
        sockets / same_host.new_name(),
    ]
    kept[2].write_text("a file")
    kept[3].mkdir()
    kept[4].symlink_to(kept[0])
    for path in kept[2:4]:
        backdate(path)
    os.utime(kept[4], (time.time() - 3600,) * 2, follow_symlinks=False)
    remove_leftovers(sockets)
    assert not any(path.exists() for path in left)
    assert sorted(sockets.iterdir()) == sorted(kept)


def test_a_directory_that_is_gone_has_no_leftovers(runtime):
    remove_leftovers(runtime / "nothing")
    assert not (runtime / "nothing").exists()
