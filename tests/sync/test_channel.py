"""The sync channel itself: its state, its end, interceptors, and what it leaves behind."""

import gc
import threading
import weakref

import grpc
import pytest
from grpc import ChannelConnectivity, StatusCode

import seawall
import seawall.sync
from seawall.call import Instance
from seawall.errors import ConfigError
from seawall.events import EndpointConnected, InstancesChanged
from seawall.registry import open_registry
from seawall.transport.sync import inside
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, Servers, connected, until

REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)


def test_it_is_a_grpc_channel(channel):
    assert isinstance(channel, grpc.Channel)


def test_channel_ready_future(servers, channel, echo):
    ready = grpc.channel_ready_future(channel)
    assert not ready.done()
    servers.start()
    ready.result(LIMIT)


def test_subscribers_are_told_each_state(servers, channel, echo):
    states = []
    changed = threading.Condition()

    def note(state):
        with changed:
            states.append(state)
            changed.notify_all()

    def become(*wanted):
        with changed:
            assert changed.wait_for(lambda: states[-1:] == list(wanted), LIMIT), states

    channel.subscribe(note, try_to_connect=True)
    service = servers.start()
    become(ChannelConnectivity.READY)
    servers.stop(service)
    become(ChannelConnectivity.TRANSIENT_FAILURE)
    channel.unsubscribe(note)
    channel.unsubscribe(note)
    servers.start()
    connected(channel, 1)
    assert states[-1] is ChannelConnectivity.TRANSIENT_FAILURE


def test_a_subscriber_that_raises_is_logged(servers, channel, echo, caplog):
    told = threading.Event()
    channel.subscribe(lambda state: 1 / 0)
    channel.subscribe(lambda state: told.set())
    assert told.wait(LIMIT) and "division by zero" in caplog.text


def test_closing_cancels_and_refuses(servers, url):
    service = servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    states = []
    channel.subscribe(states.append)
    future = stub.Say.future(SLOW)
    blocked = Caller(lambda: stub.Say(SLOW))
    stream = stub.Count(pb.EchoRequest(count=1, delay=30))
    assert next(stream).text == "0"
    until(lambda: len(service.seen) == 3)
    channel.close()
    channel.close()
    for fails in (blocked.join, lambda: future.result(LIMIT), lambda: next(stream)):
        with pytest.raises(seawall.CallError, match="channel was closed") as caught:
            fails()
        assert caught.value.code() is StatusCode.CANCELLED
    with pytest.raises(ValueError, match="closed"):
        stub.Say(REQUEST)
    with pytest.raises(ValueError, match="closed"):
        pb_grpc.EchoStub(channel)
    servers.happened(service.cancelled)
    until(lambda: states[-1] is ChannelConnectivity.SHUTDOWN)


def ours_since(before):
    """The framework's threads, less those that were there before."""
    new = set(threading.enumerate()) - before
    return sorted(thread.name for thread in new if thread.name.startswith("seawall"))


def test_closing_ends_every_thread(servers, url):
    servers.start().hook = failing()
    before = set(threading.enumerate())
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        with seawall.options(fallback=lambda *_: pb.EchoReply(text="own")):
            assert stub.Say.future(REQUEST).result(LIMIT).text == "own"
        others = ["seawall-fallback-1", "seawall-news-1", "seawall-registry", "seawall-timers"]
        until(lambda: ours_since(before) == others)
    until(lambda: set(threading.enumerate()) <= before)


def test_a_channel_that_was_never_used_has_no_thread(url):
    before = set(threading.enumerate())
    with seawall.sync.connect(url):
        assert set(threading.enumerate()) == before


def test_closing_from_a_callback(servers, url):
    servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    done = threading.Event()
    other = stub.Say.future(SLOW)

    def close(_):
        channel.close()
        done.set()

    stub.Say.future(REQUEST).add_done_callback(close)
    assert done.wait(LIMIT)
    assert other.exception(LIMIT).code() is StatusCode.CANCELLED
    assert channel.calls.background.ended.wait(LIMIT)


def test_closing_from_a_listener(servers, url):
    servers.start()
    done = threading.Event()

    def listener(event):
        if isinstance(event, EndpointConnected):
            channel.close()
            done.set()

    channel = seawall.sync.connect(url, listener=listener)
    pb_grpc.EchoStub(channel)
    assert done.wait(LIMIT) and channel.calls.background.ended.wait(LIMIT)


def test_closing_by_many_threads_at_once(servers, url):
    servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    stub.Say(REQUEST)
    for caller in [Caller(channel.close) for _ in range(10)]:
        caller.join()
    assert channel.calls.background.ended.is_set()


def test_closing_that_was_interrupted_is_gone_on_with(servers, url, monkeypatch):
    servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    assert stub.Say(REQUEST).text == "hello"
    future = stub.Say.future(SLOW)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(channel.calls, "end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            channel.close()
    channel.close()
    assert future.done() and channel.calls.background.ended.is_set()


def test_one_channel_is_closed_while_another_lives(servers, url):
    servers.start()
    with seawall.sync.connect(url) as living:
        stay = pb_grpc.EchoStub(living)
        under_way = stay.Charge.future(pb.EchoRequest(text="on", delay=0.3))
        for _ in range(3):
            with seawall.sync.connect(url) as other:
                assert pb_grpc.EchoStub(other).Say(REQUEST).text == "hello"
            assert stay.Say(REQUEST).text == "hello"
        assert under_way.result(LIMIT).text == "on"


def test_a_call_that_waits_for_an_instance_is_ended_by_closing(url):
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    caller = Caller(lambda: stub.Say(REQUEST, wait_for_ready=True, timeout=60))
    until(lambda: len(channel.discoveries[0].waiting))
    channel.close()
    with pytest.raises(seawall.CallError, match="closed"):
        caller.join()


def test_a_channel_that_is_dropped_closes_itself(servers, url):
    servers.start()
    before = set(threading.enumerate())
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert stub.Say(REQUEST).text == "hello"
    del stub
    gc.collect()
    assert gone() is None
    until(lambda: set(threading.enumerate()) <= before)


def test_a_call_keeps_its_channel(servers, url):
    service = servers.start()
    call = pb_grpc.EchoStub(seawall.sync.connect(url)).Say.future(pb.EchoRequest(text="x", delay=1))
    servers.happened(service.running)
    gc.collect()
    assert call.result(LIMIT).text == "x"


class Tag(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds metadata, and sees the outcome."""

    def __init__(self):
        self.codes = []

    def _intercept(self, continuation, details, request):
        tagged = details._replace(metadata=(("tag", "1"),))
        call = continuation(tagged, request)
        call.add_done_callback(lambda ended: self.codes.append(ended.code()))
        return call

    intercept_unary_unary = intercept_unary_stream = _intercept
    intercept_stream_unary = intercept_stream_stream = _intercept


def test_interceptors(servers, channel):
    seen = []

    async def hook(name, context):
        seen.append(dict(context.invocation_metadata())["tag"])

    service = servers.start()
    service.hook = hook
    tag = Tag()
    echo = pb_grpc.EchoStub(grpc.intercept_channel(channel, tag))
    assert echo.Say(REQUEST).text == "hello"
    assert echo.Say.future(REQUEST).result(LIMIT).text == "hello"
    assert echo.Say.with_call(REQUEST)[1].code() is StatusCode.OK
    assert [r.text for r in echo.Count(pb.EchoRequest(count=2))] == ["0", "1"]
    assert echo.Join(iter([REQUEST])).text == "hello"
    assert [r.text for r in echo.Chat(iter([REQUEST]))] == ["hello"]
    assert seen == ["1"] * 6
    until(lambda: tag.codes == [StatusCode.OK] * 6)
    endpoint = channel.discoveries[0].group.endpoints[0]
    assert len(endpoint.transport.callables) == 4


def test_an_interceptor_sees_a_failed_call(servers, channel):
    servers.start().hook = failing(StatusCode.NOT_FOUND)
    tag = Tag()
    echo = pb_grpc.EchoStub(grpc.intercept_channel(channel, tag))
    with pytest.raises(seawall.CallError, match="told to fail"):
        echo.Say(REQUEST)
    with pytest.raises(grpc.RpcError):
        echo.Say.future(REQUEST).result(LIMIT)
    until(lambda: tag.codes == [StatusCode.NOT_FOUND] * 2)


def test_many_stubs_are_one_method(servers, channel):
    servers.start()
    for _ in range(30):
        pb_grpc.EchoStub(channel).Say(REQUEST)
    assert len(channel.discoveries[0].group.endpoints[0].transport.callables) == 1


def test_events_are_told_on_one_thread_and_may_call(servers, url):
    servers.start()
    threads, kinds = set(), []

    def listener(event):
        threads.add(threading.current_thread().name)
        kinds.append(type(event))

    with seawall.sync.connect(url, listener=listener) as channel:
        assert pb_grpc.EchoStub(channel).Say(REQUEST).text == "hello"
        until(lambda: EndpointConnected in kinds)
    assert InstancesChanged in kinds and threads == {"seawall-news-1"}


def test_an_open_registry_stays_its_owners(servers):
    service = servers.start()
    name = "seawall.tests.Echo"
    registry = open_registry(f"static://{service.address}")
    with seawall.sync.connect(registry) as channel:
        assert pb_grpc.EchoStub(channel).Say(REQUEST).text == "hello"
        assert [e.instance.service for e in channel.discoveries[0].group.endpoints] == [name]


def test_a_url_that_makes_no_sense():
    with pytest.raises(ConfigError):
        seawall.sync.connect("localhost:2379")
    with pytest.raises(ConfigError):
        seawall.sync.connect("local://", service_config={"wrong": 1})


def test_an_instance_that_cannot_be_dialled_harms_no_other(servers, url):
    service = servers.start()
    registry = open_registry(url)
    bad = Instance("seawall.tests.Echo", "bad", "127.0.0.1:1")
    servers.run(registry.register([bad]))
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        for _ in range(10):
            assert stub.Say(REQUEST).instance == service.address
        until(lambda: len(channel.discoveries[0].group.endpoints) == 2)
    servers.run(registry.close())


def test_a_connection_that_breaks_is_made_again(tmp_path):
    """The server goes, without a word in the registry, and comes back at its address."""
    with Servers(f"local://{tmp_path}") as servers:
        service = servers.start()
        port = int(service.address.rpartition(":")[2])
        with seawall.sync.connect(f"static://{service.address}") as channel:
            stub = pb_grpc.EchoStub(channel)
            assert stub.Say(REQUEST).text == "hello"
            servers.stop(service)
            until(lambda: not channel.discoveries[0].group.ready)
            with pytest.raises(seawall.NoEndpoints, match="can't connect"):
                stub.Charge(REQUEST)
            servers.start(port=port)
            assert stub.Say(REQUEST, wait_for_ready=True, timeout=LIMIT).text == "hello"


def test_a_call_that_never_left_is_made_again_whatever_its_effects(servers, url):
    """The connection has just broken, and nobody has noticed: gRPC refuses the attempt."""
    first, second = servers.start(), servers.start()
    in_turn = {"loadBalancingConfig": [{"round_robin": {}}]}
    with seawall.sync.connect(url, service_config=in_turn) as channel:
        echo = pb_grpc.EchoStub(channel)
        connected(channel, 2)
        for _ in range(2):
            echo.Charge(REQUEST)
        group = channel.discoveries[0].group
        broken = next(e for e in group.endpoints if e.address == first.address).transport._line
        broken.channel.unsubscribe(broken.on_state)
        inside.close(broken.channel)
        stories = []
        for _ in range(2):
            response, call = echo.Charge.with_call(REQUEST)
            assert response.instance == second.address
            stories.append(call.explain())
        assert any("could not be started" in story for story in stories)


def test_nothing_is_bound_to_a_connection_that_closes(servers, echo, channel):
    """gRPC would end the process with a segmentation fault."""
    servers.start()
    connected(channel, 1)
    channel.discoveries[0].group.endpoints[0].transport._line.closing = True
    with pytest.raises(seawall.CallError, match="being closed"):
        echo.Charge(REQUEST)
