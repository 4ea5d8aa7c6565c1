"""Calls on the same host go over a Unix socket that can be trusted, and over TCP without one."""

import asyncio
import gc
import os
import shutil
import socket
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seawall
from seawall.call import Instance
from seawall.events import EndpointConnected, EndpointLost
from seawall.registry import open_registry
from seawall.testing.etcd import free_ports
from seawall.transport import same_host
from seawall.transport.connection import Connection
from tests.echo import EchoService
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sockets import Peers, Relay
from tests.transport.test_unary import until

SERVICE = "seawall.tests.Echo"
REQUEST = pb.EchoRequest(text="hello")
NAME = "0123456789abcdef01234567.seawall"


@pytest.fixture
def directory():
    """A private directory with a path that is short enough."""
    made = Path(tempfile.mkdtemp(prefix="sw")).resolve()
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def server():
    """A service that has no socket of its own."""
    async with EchoService(registry="memory://elsewhere", unix_socket=False) as made:
        made.peers = Peers(made)
        yield made


@asynccontextmanager
async def listed(registry, server, facts, listener=seawall.events.ignore):
    """A channel to ``server``, which is announced with these facts."""
    opened = open_registry(registry)
    await opened.register([Instance(SERVICE, "one", server.address, facts)])
    try:
        async with seawall.connect(opened, listener=listener) as channel:
            yield channel
    finally:
        await opened.close()


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


# --- what can be trusted ------------------------------------------------------------------------


def test_a_socket_of_ours_in_a_private_directory_is_trusted(directory):
    path = directory / NAME
    bound(path)
    facts = {same_host.HOST: same_host.host_id(), same_host.SOCKET: str(path)}
    assert same_host.socket_of(facts) == (str(path), "")


def test_the_host_is_known_and_is_not_the_boot_id():
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    host = same_host.host_id()
    assert host and len(host) == 32
    assert host not in (boot, boot.replace("-", ""))


def test_names_are_recognised_and_differ():
    names = {same_host.new_name() for _ in range(100)}
    assert len(names) == 100 and all(map(same_host.is_name, names))


@pytest.mark.parametrize("host", [None, "", "f" * 32, 7, ["x"]])
def test_another_host_is_not_this_one(directory, host):
    bound(directory / NAME)
    facts = {same_host.HOST: host, same_host.SOCKET: str(directory / NAME)}
    assert same_host.socket_of(facts) == (None, "")


def test_a_host_without_an_id_trusts_nobody(directory, monkeypatch):
    monkeypatch.setattr(same_host, "host_id", lambda: None)
    bound(directory / NAME)
    facts = {same_host.HOST: None, same_host.SOCKET: str(directory / NAME)}
    assert same_host.socket_of(facts)[0] is None


def no_socket(directory):
    return str(directory / NAME), "can't be looked at: No such file"


def a_file(directory):
    (directory / NAME).write_text("")
    return str(directory / NAME), "is no socket"


def a_pipe(directory):
    os.mkfifo(directory / NAME)
    return str(directory / NAME), "is no socket"


def a_device(directory):
    return "/dev/null", "has not the name"


def a_directory(directory):
    (directory / NAME).mkdir()
    return str(directory / NAME), "is no socket"


def another_programs(directory):
    bound(directory / "agent.sock")
    return str(directory / "agent.sock"), "has not the name"


def a_link(directory):
    bound(directory / "agent.sock")
    (directory / NAME).symlink_to(directory / "agent.sock")
    return str(directory / NAME), "is no socket"


def below_a_link(directory):
    (directory / "real").mkdir(mode=0o700)
    bound(directory / "real" / NAME)
    (directory / "link").symlink_to(directory / "real")
    return str(directory / "link" / NAME), "link or no directory"


def far_below_a_link(directory):
    (directory / "real" / "sockets").mkdir(parents=True)
    (directory / "real" / "sockets").chmod(0o700)
    bound(directory / "real" / "sockets" / NAME)
    (directory / "link").symlink_to(directory / "real")
    return str(directory / "link" / "sockets" / NAME), "which is a link"


def where_others_enter(directory):
    bound(directory / NAME)
    directory.chmod(0o755)
    return str(directory / NAME), "others may enter"


def below_where_others_write(directory):
    (directory / "sockets").mkdir(mode=0o700)
    bound(directory / "sockets" / NAME)
    directory.chmod(0o777)
    return str(directory / "sockets" / NAME), "others may write"


def relative(directory):
    return f"sockets/{NAME}", "not an absolute path"


def with_dots(directory):
    bound(directory / NAME)
    return f"{directory}/../{directory.name}/{NAME}", "not an absolute path"


def doubled(directory):
    bound(directory / NAME)
    return f"/{directory}/{NAME}", "not an absolute path"


def too_long(directory):
    return f"/{'x' * 100}/{NAME}", "107 is the most"


def with_a_zero(directory):
    return f"{directory}\0/{NAME}", "not an absolute path"


def no_text(directory):
    return f"/\ud800/{NAME}", "is not UTF-8"


def root(directory):
    return "/", "not an absolute path"


def empty(directory):
    return "", "not an absolute path"


def a_list(directory):
    return [str(directory / NAME)], "is no path"


def a_number(directory):
    return 3, "is no path"


def an_abstract_one(directory):
    return "@seawall", "not an absolute path"


HOSTILE = [
    no_socket, a_file, a_pipe, a_device, a_directory, another_programs, a_link, below_a_link,
    far_below_a_link, where_others_enter, below_where_others_write, relative, with_dots, doubled,
    too_long, with_a_zero, no_text, root, empty, a_list, a_number, an_abstract_one,
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
async def test_a_path_that_cannot_be_trusted_means_tcp(make, directory, registry, server):
    path, why = make(directory)
    facts = {same_host.HOST: same_host.host_id(), same_host.SOCKET: path}
    trusted, told = same_host.socket_of(facts)
    assert trusted is None and why in told
    async with listed(registry, server, facts) as channel:
        assert (await pb_grpc.EchoStub(channel).Charge(REQUEST)).text == "hello"
    assert server.peers.seen == ["ipv4"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.text(alphabet="/.\0ab\ud800"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_whatever_an_entry_says_is_refused_without_an_error(said):
    here = same_host.host_id()
    assert same_host.socket_of({same_host.HOST: here, same_host.SOCKET: said})[0] is None
    assert same_host.socket_of({same_host.HOST: said, same_host.SOCKET: "/x"})[0] is None


@pytest.mark.parametrize("whose", ["socket", "directory", "directory above"])
def test_what_belongs_to_somebody_else_is_not_trusted(directory, monkeypatch, whose):
    inner = directory / "sockets"
    inner.mkdir(mode=0o700)
    bound(inner / NAME)
    foreign = {"socket": inner / NAME, "directory": inner, "directory above": directory}[whose]
    stranger = os.geteuid() + 1

    def seen(path, look=os.lstat):
        facts = list(look(path))
        if Path(path) == foreign:
            facts[4] = stranger
        return os.stat_result(facts)

    with monkeypatch.context() as patched:
        patched.setattr(same_host.os, "lstat", seen)
        patched.setattr(Path, "lstat", seen)
        problem = same_host.socket_problem(str(inner / NAME))
    assert problem is not None and f"belongs to user {stranger}" in problem


async def test_a_path_that_a_url_would_take_amiss(directory, registry, server):
    odd = directory / "50%25 of a?b#c é"
    odd.mkdir(mode=0o700)
    async with Relay(odd, server.port) as relay:
        async with listed(registry, server, relay.facts) as channel:
            await pb_grpc.EchoStub(channel).Charge(REQUEST)
        assert relay.accepted == 1


# --- using it, and doing without it ---------------------------------------------------------------


async def test_calls_go_over_the_socket_and_the_address_stays(directory, registry, server):
    heard = Heard()
    async with Relay(directory, server.port) as relay:
        async with listed(registry, server, relay.facts, heard) as channel:
            stub = pb_grpc.EchoStub(channel)
            for _ in range(3):
                await stub.Charge(REQUEST)
            assert relay.accepted == 1
            assert [e.address for e in heard.of(EndpointConnected)] == [server.address]
            assert channel.discoveries[0].group.ready[0].address == server.address


async def test_with_credentials_it_is_tcp(directory):
    states = []
    async with Relay(directory, 1) as relay:
        instance = Instance(SERVICE, "one", f"127.0.0.1:{free_ports(1)[0]}", relay.facts)
        connection = Connection(
            instance, lambda *state: states.append(state), grpc.ssl_channel_credentials()
        )
        connection.start()
        try:
            await until(lambda: any(problem for _, problem in states))
        finally:
            await connection.close()
        assert relay.accepted == 0


async def test_a_dead_socket_costs_no_call(directory, registry, server):
    heard = Heard()
    relay = Relay(directory, server.port)
    await relay.start()
    await relay.stop()
    async with listed(registry, server, relay.facts, heard) as channel:
        await pb_grpc.EchoStub(channel).Charge(REQUEST)
    assert server.peers.seen == ["ipv4"]
    assert heard.of(EndpointLost) == [] and len(heard.of(EndpointConnected)) == 1


async def test_a_mute_socket_costs_a_second_and_no_call(directory, registry, server):
    async with Relay(directory, server.port, mute=True) as relay:
        async with listed(registry, server, relay.facts) as channel:
            call = pb_grpc.EchoStub(channel).Charge(REQUEST)
            await until(lambda: relay.accepted)
            assert (await call).text == "hello"


async def test_a_socket_that_breaks_is_replaced_by_tcp_for_good(directory, registry, server):
    heard = Heard()
    async with Relay(directory, server.port) as relay:
        async with listed(registry, server, relay.facts, heard) as channel:
            stub = pb_grpc.EchoStub(channel)
            await stub.Charge(REQUEST)
            await relay.stop()
            relay.path.unlink()
            await heard.told(EndpointConnected, 2)
            await relay.start()
            for _ in range(5):
                await stub.Charge(REQUEST)
            assert relay.accepted == 1
            assert channel.discoveries[0].group.ready[0].address == server.address
    assert len(heard.of(EndpointLost)) == 1


async def test_no_call_that_can_be_retried_fails_when_a_socket_breaks(directory, registry, server):
    answered = []
    async with Relay(directory, server.port) as relay:
        async with listed(registry, server, relay.facts) as channel:
            stub = pb_grpc.EchoStub(channel)

            async def lane():
                while len(answered) < 400:
                    answered.append((await stub.Say(pb.EchoRequest(delay=0.001))).text)

            lanes = [asyncio.create_task(lane()) for _ in range(3)]  # fewer than open a breaker
            await until(lambda: len(answered) > 100)
            await relay.stop()
            async with asyncio.timeout(20):
                await asyncio.gather(*lanes)


async def test_a_call_under_way_fails_as_one_on_a_broken_connection(directory, registry, server):
    heard = Heard()
    async with Relay(directory, server.port) as relay:
        async with listed(registry, server, relay.facts, heard) as channel:
            stub = pb_grpc.EchoStub(channel)
            call = stub.Charge(pb.EchoRequest(delay=30))
            async with asyncio.timeout(10):
                await server.running.wait()
                await relay.stop()
                with pytest.raises(seawall.CallError) as caught:
                    await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert [a.address for a in caught.value.attempts] == [server.address]
            await heard.told(EndpointConnected, 2)
            assert (await stub.Charge(REQUEST)).text == "hello"


async def test_what_waited_for_the_socket_is_known_to_be_unsent(directory, server):
    """Even though TCP may be connected by the time that is looked at."""
    states = []
    async with Relay(directory, server.port, mute=True) as relay:
        instance = Instance(SERVICE, "one", server.address, relay.facts)

        def on_state(ready, _):
            states.append(ready)
            deadline = time.monotonic() + 10
            while connection._channel is not over_socket and not live():
                assert time.monotonic() < deadline
                time.sleep(0.001)  # nobody else hears of anything until TCP is connected

        def live():
            return connection._channel.get_state() is grpc.ChannelConnectivity.READY

        connection = Connection(instance, on_state)
        over_socket = connection._channel
        connection.start()
        try:
            await until(lambda: relay.accepted)
            method = connection.bind(_Say())
            call = method(REQUEST)
            seen = asyncio.get_running_loop().create_future()
            call.add_done_callback(lambda _: seen.set_result(connection.connected))
            async with asyncio.timeout(10):
                assert await seen is False
            assert (await call.details()).startswith("failed to connect to all addresses")
            await until(lambda: states[-1])
            assert connection.connected
            assert _Say not in map(type, connection.callables)
            assert (await connection.bind(_Say())(REQUEST)).text == "hello"
        finally:
            await connection.close()


class _Say:
    def bind(self, channel):
        return pb_grpc.EchoStub(channel).Say


async def test_a_stream_outlives_the_goodbye_of_its_server(registry, directory, monkeypatch):
    """The server stops: its socket is gone at once, and what runs on it is finished, though the
    registry has not told that it left."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    async with EchoService(registry="memory://elsewhere", grace=20.0) as service:
        peers = Peers(service)
        facts = service.server._announcement.instances[0].metadata
        async with listed(registry, service, facts) as channel, asyncio.timeout(20):
            call = pb_grpc.EchoStub(channel).Chat()
            await call.write(REQUEST)
            assert (await call.read()).text == "hello"
            endpoint = channel.discoveries[0].group.ready[0]
            stopping = asyncio.create_task(service.stop())
            await until(lambda: not endpoint.transport.callables)  # TCP has taken over
            for _ in range(3):
                await call.write(REQUEST)
                assert (await call.read()).text == "hello"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            await stopping
    assert peers.seen == ["unix"]


# --- closing --------------------------------------------------------------------------------------


def sockets_open() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += entry.readlink().name.startswith("socket:")
        except OSError:
            continue  # the directory's own
    return count


@pytest.mark.parametrize("broken", [False, True], ids=["socket", "after falling back"])
async def test_closing_leaves_no_connection(directory, server, broken):
    async with Relay(directory, server.port) as relay:
        before = sockets_open()
        instance = Instance(SERVICE, "one", server.address, relay.facts)
        states = []
        connection = Connection(instance, lambda ready, _: states.append(ready))
        connection.start()
        await until(lambda: connection.connected)
        if broken:
            await relay.stop()
            await until(lambda: states.count(True) == 2)
        await connection.close()
        await until(lambda: sockets_open() <= before)


async def test_a_close_that_is_cancelled_closes_all_the_same(directory, server):
    before = sockets_open()
    connection = Connection(Instance(SERVICE, "one", server.address), lambda *_: None)
    connection.start()
    await until(lambda: connection.connected)
    call = connection.bind(_Say())(pb.EchoRequest(delay=30))
    await server.running.wait()
    closing = asyncio.create_task(connection.close(600))
    await until(connection._channel._channel.closed)  # or about to be
    await asyncio.sleep(0)  # it waits for its calls
    call.cancel()
    closing.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await closing
    del call  # it holds on to its connection, whatever became of it
    gc.collect()
    await until(lambda: sockets_open() <= before)
