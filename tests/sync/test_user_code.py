"""The user's own functions: callbacks, fallbacks, listeners and iterators that wait, call, close
the channel, or leave. None holds up anybody else's call."""

import gc
import sys
import threading

import grpc
import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from seawall.events import EndpointConnected
from seawall.transport.sync import pool as pools
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, connected, until

REQUEST = pb.EchoRequest(text="hello")
OWN = pb.EchoReply(text="own")
SLOW = pb.EchoRequest(text="slow", delay=30)


def test_a_callback_may_wait_for_calls_of_every_kind(servers, echo):
    """Not on gRPC's thread: that is the one which brings their ends."""
    servers.start()
    answers = []
    done = threading.Event()

    def more(_):
        answers.append(echo.Say.future(REQUEST).result(LIMIT).text)
        answers.extend(reply.text for reply in echo.Count(pb.EchoRequest(count=2)))
        answers.append(echo.Say(REQUEST).text)
        done.set()

    echo.Say.future(REQUEST).add_done_callback(more)
    assert done.wait(LIMIT) and answers == ["hello", "0", "1", "hello"]


def test_a_callback_that_waits_holds_up_no_other_call(servers, echo):
    servers.start()
    begun, held = threading.Event(), threading.Event()

    def wait(_):
        begun.set()
        held.wait(LIMIT)

    echo.Say.future(REQUEST).add_done_callback(wait)
    assert begun.wait(LIMIT)
    assert echo.Say.future(REQUEST).result(LIMIT).text == "hello"
    assert [r.text for r in echo.Count(pb.EchoRequest(count=1))] == ["0"]
    held.set()


def test_a_callback_that_exits_takes_nobody_with_it(servers, echo):
    servers.start()
    after = threading.Event()
    call = echo.Say.future(pb.EchoRequest(text="x", delay=0.05))
    call.add_done_callback(lambda _: sys.exit("leaving"))
    call.add_done_callback(lambda _: after.set())
    assert call.result(LIMIT).text == "x" and after.wait(LIMIT)
    assert echo.Say.future(REQUEST).result(LIMIT).text == "hello"


def test_callbacks_of_one_call_come_in_order(servers, echo):
    servers.start()
    call, told, done = echo.Say.future(REQUEST), [], threading.Event()
    for number in range(20):
        call.add_done_callback(lambda _, number=number: told.append(number))
    call.add_done_callback(lambda _: done.set())
    assert done.wait(LIMIT) and (told == sorted(told)) and len(told) == 20


def test_the_callbacks_of_a_stream_that_is_dropped_are_called(servers, echo, channel):
    """Who counts what is under way would count it for ever."""
    service = servers.start()
    ended = []
    for read in (0, 1):
        call = echo.Count(pb.EchoRequest(count=1, delay=30))
        call.add_done_callback(lambda over: ended.append(over.code()))
        for _ in range(read):
            next(call)
        until(lambda: len(service.seen) == read + 1)  # noqa: B023 - awaited here
        del call
        gc.collect()
    until(lambda: ended == [StatusCode.CANCELLED] * 2)
    until(lambda: [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0])
    assert not channel.calls.streams


def test_the_callbacks_of_calls_that_closing_ends_are_called(servers, url):
    service = servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)
    ended = []
    calls = [stub.Say.future(SLOW), stub.Count(SLOW), stub.Chat(iter([SLOW]))]
    for call in calls:
        call.add_done_callback(lambda over: ended.append(over.code()))
    until(lambda: len(service.seen) == 3)
    channel.close()
    until(lambda: ended == [StatusCode.CANCELLED] * 3)


def test_a_callback_may_close_the_channel_and_wait_for_that(servers, url):
    servers.start()
    channel = seawall.sync.connect(url)
    done = threading.Event()

    def close(_):
        channel.close()
        assert channel.calls.background.ended.is_set()
        done.set()

    pb_grpc.EchoStub(channel).Say.future(REQUEST).add_done_callback(close)
    assert done.wait(LIMIT)


@pytest.mark.parametrize("kind", ["Join", "Chat"])
def test_an_iterator_of_requests_may_close_the_channel(servers, url, kind):
    servers.start()
    channel = seawall.sync.connect(url)
    stub = pb_grpc.EchoStub(channel)

    def requests():
        yield REQUEST
        channel.close()
        yield REQUEST

    with pytest.raises(seawall.CallError, match="channel was closed"):
        answer = getattr(stub, kind)(requests())
        next(answer)
        next(answer)
    assert channel.calls.background.ended.wait(LIMIT)


def test_an_iterator_of_requests_that_never_comes_to_its_end(servers, echo, channel):
    """Nobody but gRPC's own thread waits for it."""
    servers.start()
    held = threading.Event()

    def stuck():
        yield REQUEST
        held.wait(LIMIT)

    with pytest.raises(grpc.RpcError) as caught:
        echo.Join(stuck(), timeout=0.3)
    assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
    assert echo.Join(iter([REQUEST])).text == "hello"
    assert [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0]
    held.set()


@pytest.mark.parametrize("kind", ["Say", "Count"])
def test_a_fallback_that_exits_ends_the_call(servers, echo, kind):
    servers.start().hook = failing()
    with seawall.options(fallback=lambda *_: sys.exit("leaving")):
        call = echo.Say.future(REQUEST) if kind == "Say" else echo.Count(REQUEST)
    assert call.exception(LIMIT).code() is StatusCode.UNAVAILABLE
    assert "leaving" in call.explain()


def test_a_fallback_that_exits_on_the_callers_thread_exits(servers, echo, channel):
    servers.start().hook = failing()
    with seawall.options(fallback=lambda *_: sys.exit("leaving")):
        with pytest.raises(SystemExit):
            echo.Charge(REQUEST)
    assert not channel.calls.active


@pytest.mark.parametrize("way", ["blocking", "future"])
def test_a_fallback_does_not_answer_for_the_calls_that_it_makes(servers, echo, way):
    """It would call itself, level upon level."""
    servers.start().hook = failing()
    asked = []

    def ask_again(call, failure):
        asked.append(call.method.name)
        with pytest.raises(seawall.CallError):
            echo.Charge.future(REQUEST).result(LIMIT)
        with seawall.options(fallback=OWN):
            return echo.Charge(REQUEST)

    with seawall.options(fallback=ask_again):
        if way == "blocking":
            assert echo.Charge(REQUEST).text == "own"
        else:
            assert echo.Charge.future(REQUEST).result(LIMIT).text == "own"
    assert asked == ["Charge"]


def test_fallbacks_may_wait_for_fallbacks(servers, echo):
    """Although those that wait have all the threads."""
    servers.start().hook = failing()
    together = threading.Barrier(pools.MOST)

    def outer(*_):
        together.wait(LIMIT)
        with seawall.options(fallback=lambda *_: OWN):
            return echo.Charge.future(REQUEST).result(LIMIT)

    with seawall.options(fallback=outer):
        calls = [echo.Charge.future(REQUEST) for _ in range(pools.MOST)]
    assert {call.result(LIMIT).text for call in calls} == {"own"}


STALE = {
    "methodConfig": [
        {"name": [{"service": "seawall.tests.Echo"}], "seawall": {"staleIfError": {"maxAge": "9s"}}}
    ]
}


def test_another_methods_stale_answer_is_marked(servers, url):
    service = servers.start()
    (entry,) = STALE["methodConfig"]
    path = "/seawall.tests.Echo/Say"
    charge = {
        "name": [{"service": "seawall.tests.Echo", "method": "Charge"}],
        "seawall": {"fallback": {"method": path}},
    }
    with seawall.sync.connect(url, service_config={"methodConfig": [entry, charge]}) as channel:
        echo = pb_grpc.EchoStub(channel)
        echo.Say(REQUEST)
        service.hook = failing()
        answer, call = echo.Charge.with_call(REQUEST)
        assert answer.text == REQUEST.text
        assert [key for key, _ in call.trailing_metadata()] == ["seawall-stale"]


def test_an_answer_waits_for_nobodys_fallback(servers, url):
    """Keeping it for later takes no thread, though those for fallbacks are all held up."""
    service = servers.start()
    held, begun = threading.Event(), threading.Semaphore(0)

    async def charge_fails(name, context):
        if name == "Charge":
            await context.abort(StatusCode.UNAVAILABLE, "told to fail")

    def wait(*_):
        begun.release()
        held.wait(LIMIT)
        return OWN

    service.hook = charge_fails
    with seawall.sync.connect(url, service_config=STALE) as channel:
        echo = pb_grpc.EchoStub(channel)
        with seawall.options(fallback=wait):
            calls = [echo.Charge.future(REQUEST) for _ in range(pools.MOST)]
        for _ in calls:
            assert begun.acquire(timeout=LIMIT)
        assert echo.Say.future(REQUEST).result(LIMIT).text == "hello"
        held.set()
        assert {call.result(LIMIT).text for call in calls} == {"own"}


def test_a_listener_that_waits_holds_up_nothing(servers, url):
    begun, held = threading.Event(), threading.Event()

    def wait(event):
        begun.set()
        held.wait(LIMIT)

    servers.start()
    with seawall.sync.connect(url, listener=wait) as channel:
        echo = pb_grpc.EchoStub(channel)
        assert echo.Say(REQUEST).text == "hello" and begun.wait(LIMIT)
        servers.start()
        connected(channel, 2)
        held.set()


def test_a_listener_may_call_what_is_not_connected_yet(servers, url):
    answers, done = [], threading.Event()

    def listener(event):
        if isinstance(event, EndpointConnected) and not done.is_set():
            done.set()
            other = pb_grpc.RelayStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                other.Forward(REQUEST, timeout=LIMIT)
            answers.append(caught.value)

    servers.start()
    channel = seawall.sync.connect(url, listener=listener)
    with channel:
        assert pb_grpc.EchoStub(channel).Say(REQUEST).text == "hello"
        until(lambda: answers)
    assert isinstance(answers[0], seawall.NoEndpoints)


def test_a_message_read_by_a_deserializer_that_calls(servers, channel, echo):
    """It runs in the midst of gRPC's own call, on the same thread."""
    servers.start()
    inner = []

    def read(data):
        inner.append(echo.Say(REQUEST).text)
        return pb.EchoReply.FromString(data)

    method = channel.unary_unary("/seawall.tests.Echo/Say", pb.EchoRequest.SerializeToString, read)
    assert method(REQUEST).text == "hello" and inner == ["hello"]


def test_threads_have_options_of_their_own(servers, echo):
    servers.start().hook = failing()
    ready = threading.Barrier(8)

    def call(number):
        with seawall.options(fallback=pb.EchoReply(text=str(number))):
            ready.wait(LIMIT)
            return {echo.Charge(REQUEST).text, echo.Charge.future(REQUEST).result(LIMIT).text}

    callers = [Caller(lambda number=number: call(number)) for number in range(8)]
    assert [caller.join() for caller in callers] == [{str(number)} for number in range(8)]
