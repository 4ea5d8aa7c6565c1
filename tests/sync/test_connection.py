"""Connections of the sync stack: Unix sockets and their replacement, health checks, retirement."""

import asyncio
import gc
import shutil
import tempfile
import threading
from pathlib import Path

import grpc
import pytest

import seawall
import seawall.sync
from seawall.call import Change, Instance, Listing
from seawall.events import EndpointConnected, EndpointLost, MassExpiry
from seawall.transport.health import Health, health_of
from seawall.transport.sync import inside
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sockets import Peers, Relay
from tests.sync.listed import SERVICE, Listed
from tests.sync.servers import LIMIT, Caller, connected, until

REQUEST = pb.EchoRequest(text="hello")


@pytest.fixture
def directory():
    """A private directory with a path that is short enough."""
    made = Path(tempfile.mkdtemp(prefix="sw")).resolve()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(servers):
    """A service without a socket of its own; ``peers`` tells how it was called."""
    made = servers.start(unix_socket=False)
    made.peers = Peers(made)
    return made


@pytest.fixture
def relay(servers, directory, server):
    made = Relay(directory, server.port)
    servers.run(made.start())
    yield made
    servers.run(made.stop())


@pytest.fixture
def heard():
    return []


@pytest.fixture
def over_socket(server, relay, heard):
    instance = Instance(SERVICE, "one", server.address, relay.facts)
    with seawall.sync.connect(Listed(instance), listener=heard.append) as channel:
        yield channel


def of(heard, kind):
    return [event for event in heard if isinstance(event, kind)]


def test_calls_go_over_the_socket(relay, over_socket):
    stub = pb_grpc.EchoStub(over_socket)
    for _ in range(3):
        assert stub.Charge(REQUEST).text == "hello"
    assert relay.accepted == 1


def test_a_socket_that_breaks_is_replaced_by_tcp(servers, server, relay, over_socket, heard):
    stub = pb_grpc.EchoStub(over_socket)
    stub.Charge(REQUEST)
    assert server.peers.seen == ["ipv4"]  # the relay's own connection
    servers.run(relay.stop())
    relay.path.unlink()
    until(lambda: len(of(heard, EndpointConnected)) == 2)
    for _ in range(5):
        assert stub.Charge(REQUEST).text == "hello"
    assert relay.accepted == 1 and len(of(heard, EndpointLost)) == 1


def test_no_call_that_can_be_retried_fails_when_a_socket_breaks(servers, relay, over_socket):
    stub = pb_grpc.EchoStub(over_socket)
    stub.Say(REQUEST)
    answered = []

    def call_on():
        while len(answered) < 200:
            answered.append(stub.Say(REQUEST).text)

    callers = [Caller(call_on) for _ in range(4)]
    until(lambda: len(answered) > 20)
    servers.run(relay.stop())
    relay.path.unlink()
    for caller in callers:
        caller.join()


def ask(channel, service=SERVICE):
    """The health of the first endpoint, asked as a mass expiry asks it: on the channel's loop."""
    endpoint = channel.discoveries[0].group.endpoints[0]
    loop = channel.calls.background._loop
    return asyncio.run_coroutine_threadsafe(health_of(endpoint, service), loop).result(LIMIT)


def test_health_checks_go_over_sync_channels_too(servers, echo, channel):
    service = servers.start()
    connected(channel, 1)
    assert ask(channel) is Health.SERVES
    assert ask(channel, "seawall.tests.Other") is Health.DENIES
    servers.stop(service)


def test_the_health_of_what_is_not_there(servers):
    with seawall.sync.connect("static://127.0.0.1:1") as channel:
        pb_grpc.EchoStub(channel)
        until(lambda: channel.discoveries and channel.discoveries[0].group.endpoints)
        assert ask(channel) is Health.SILENT


def test_when_most_vanish_at_once_those_that_answer_are_kept(servers, heard):
    services = [servers.start() for _ in range(3)]
    instances = [Instance(SERVICE, s.address, s.address) for s in services]
    registry = Listed(*instances)
    with seawall.sync.connect(registry, listener=heard.append) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 3)
        registry.say(Change(lost=frozenset(i.id for i in instances)))
        until(lambda: of(heard, MassExpiry))
        assert of(heard, MassExpiry)[0].kept == 3
        for _ in range(10):
            stub.Charge(REQUEST)


def test_a_call_goes_on_where_its_instance_has_left_the_list(servers):
    service = servers.start()
    registry = Listed(Instance(SERVICE, "one", service.address))
    with seawall.sync.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        blocked = Caller(lambda: stub.Charge(pb.EchoRequest(text="blocked", delay=0.5)))
        future = stub.Charge.future(pb.EchoRequest(text="future", delay=0.5))
        stream = stub.Count(pb.EchoRequest(count=2, delay=0.5))
        assert next(stream).text == "0"
        until(lambda: len(service.seen) == 3)
        line = channel.discoveries[0].group.endpoints[0].transport._line
        registry.say(Listing(()))
        until(lambda: not channel.discoveries[0].group.endpoints)
        with pytest.raises(seawall.NoEndpoints):
            stub.Say(REQUEST)
        assert blocked.join().text == "blocked" and future.result(LIMIT).text == "future"
        assert [r.text for r in stream] == ["1"]
        until(lambda: not line.users)
        until(lambda: inside.connectivity(line.channel) == 4 or line.closing)


def test_no_thread_stands_behind_a_connection(servers, url):
    services = [servers.start() for _ in range(3)]
    before = set(threading.enumerate())
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 3)
        for _ in range(10):
            stub.Say(REQUEST)
        servers.stop(services[0])
        connected(channel, 2)
        new = [t.name for t in set(threading.enumerate()) - before]
        assert [name for name in new if not name.startswith("seawall")] == []


def test_a_call_that_finds_a_connection_broken_has_it_looked_at(servers):
    """However long it is until the next look."""
    service = servers.start(unix_socket=False)
    with seawall.sync.connect(f"static://{service.address}") as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 1)
        connection = channel.discoveries[0].group.endpoints[0].transport
        put_off = threading.Event()

        def put_off_the_next_look():
            connection._look(connection._line, 3600)
            put_off.set()

        connection._loop.call_soon_threadsafe(put_off_the_next_look)
        assert put_off.wait(LIMIT)
        servers.stop(service)
        with pytest.raises(grpc.RpcError):
            stub.Charge(REQUEST)
        until(lambda: not channel.discoveries[0].group.ready)


def test_streams_are_released_though_grpc_is_told_to_do_without_a_thread(servers, url, monkeypatch):
    """GRPC_SINGLE_THREADED_UNARY_STREAM: gRPC would tell their end to nobody who doesn't read."""
    monkeypatch.setattr("grpc._channel._DEFAULT_SINGLE_THREADED_UNARY_STREAM", True)
    service = servers.start()
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        cancelled = stub.Count(pb.EchoRequest(count=1, delay=30))
        assert next(cancelled).text == "0" and cancelled.cancel()
        dropped = stub.Count(pb.EchoRequest(count=1, delay=30))
        assert next(dropped).text == "0"
        del dropped
        gc.collect()
        endpoint = channel.discoveries[0].group.endpoints[0]
        until(lambda: not endpoint.outstanding and not endpoint.transport._line.users)
        servers.happened(service.cancelled)


@pytest.fixture
def plain_grpc(monkeypatch):
    """A gRPC that is made differently inside: nothing of it is to be found."""
    monkeypatch.setattr(inside, "catch_inner_calls", lambda make, catcher: False)
    monkeypatch.setattr(inside, "connectivity", lambda channel, **_: None)
    monkeypatch.setattr(inside, "initial_metadata", lambda call: ())
    monkeypatch.setattr(inside, "debug_error_string", lambda call: "")


def test_without_what_grpc_keeps_inside(plain_grpc, servers, url):
    services = [servers.start() for _ in range(2)]
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 2)
        assert stub.Say(REQUEST).text == "hello"
        assert stub.Join(iter([REQUEST, REQUEST])).text == "hello,hello"
        assert [r.text for r in stub.Count(pb.EchoRequest(count=2))] == ["0", "1"]
        slow = pb.EchoRequest(text="late", delay=0.45)
        assert stub.Say(slow, timeout=1.0).text == "late"
        with seawall.options(fallback=lambda *_: pb.EchoReply(text="own")):
            assert stub.Say(pb.EchoRequest(delay=30), timeout=0.2).text == "own"
        servers.stop(services[0])
        until(lambda: len(channel.discoveries[0].group.endpoints) == 1)
        assert stub.Charge(REQUEST).instance == services[1].address


def test_without_it_a_connection_that_breaks_is_made_again(plain_grpc, servers, url):
    service = servers.start(unix_socket=False)
    port = int(service.address.rpartition(":")[2])
    with seawall.sync.connect(f"static://{service.address}") as channel:
        stub = pb_grpc.EchoStub(channel)
        assert stub.Say(REQUEST).text == "hello"
        servers.stop(service)
        until(lambda: not channel.discoveries[0].group.ready)
        servers.start(port=port, unix_socket=False)
        assert stub.Say(REQUEST, wait_for_ready=True, timeout=LIMIT).text == "hello"


def test_what_cannot_be_found_inside_is_noticed():
    assert inside.connectivity(object()) is None
    assert inside.catch_inner_calls(object(), None) is False
    assert inside.initial_metadata(object()) == () and inside.debug_error_string(object()) == ""
