"""The three streaming arities of the sync stack, over real servers."""

import asyncio
import gc
import threading

import grpc
import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from seawall.transport.requests import BUFFER_LIMIT
from tests.echo import EchoService, failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, connected, until

THREE = pb.EchoRequest(count=3)


def requests(count=3):
    for number in range(count):
        yield pb.EchoRequest(text=str(number))


def texts(call):
    return [reply.text for reply in call]


def endpoint_of(channel):
    return channel.discoveries[0].group.endpoints[0]


def test_unary_stream(servers, echo):
    servers.start()
    call = echo.Count(THREE)
    assert isinstance(call, grpc.Call) and isinstance(call, grpc.Future)
    assert texts(call) == ["0", "1", "2"]
    assert call.code() is StatusCode.OK and call.done() and not call.is_active()
    assert texts(call) == [] and call.result() is None


def test_messages_are_read_one_by_one(servers, echo):
    servers.start()
    call = echo.Count(THREE)
    assert next(call).text == "0" and call.next().text == "1"
    assert not call.done() and call.is_active() and call.running()
    assert next(call).text == "2"
    assert next(call, None) is None and next(call, None) is None


def test_an_empty_stream(servers, echo):
    servers.start()
    assert texts(echo.Count(pb.EchoRequest(count=0))) == []


@pytest.mark.parametrize("source", [lambda: list(requests()), requests], ids=["list", "iterator"])
def test_stream_unary(servers, echo, source):
    servers.start()
    assert echo.Join(source()).text == "0,1,2"
    assert echo.Join.future(source()).result(LIMIT).text == "0,1,2"
    response, call = echo.Join.with_call(source())
    assert response.text == "0,1,2" and call.code() is StatusCode.OK


def test_stream_stream(servers, echo):
    servers.start()
    assert texts(echo.Chat(requests())) == ["0", "1", "2"]


def test_a_conversation(servers, echo):
    """Each request depends on the answer to the one before."""
    servers.start()
    answers = []
    more = threading.Semaphore(1)

    def talk():
        for number in range(3):
            assert more.acquire(timeout=LIMIT)
            yield pb.EchoRequest(text=str(number))

    call = echo.Chat(talk())
    for reply in call:
        answers.append(reply.text)
        more.release()
    assert answers == ["0", "1", "2"] and call.code() is StatusCode.OK


def test_initial_metadata_comes_before_the_first_message(servers, echo):
    async def hook(name, context):
        await context.send_initial_metadata((("hello", "there"),))

    servers.start().hook = hook
    quiet = threading.Event()

    def talk():
        assert quiet.wait(LIMIT)
        return
        yield

    call = echo.Chat(talk())
    assert dict(call.initial_metadata())["hello"] == "there"
    quiet.set()
    assert texts(call) == []


def test_streams_have_no_default_deadline(servers, echo):
    servers.start()
    for reply in echo.Count(THREE):
        assert reply.remaining == -1
    call = echo.Count(THREE, timeout=3)
    assert 2 < call.time_remaining() < 3 and echo.Count(THREE).time_remaining() is None
    for reply in call:
        assert 2 < reply.remaining < 3.0


def test_a_stream_that_fails_before_its_first_message_is_retried(servers, echo, channel):
    for _ in range(2):
        servers.start().hook = failing(times=1)
    connected(channel, 2)
    assert texts(echo.Count(THREE)) == ["0", "1", "2"]


def test_it_is_retried_before_anybody_reads(servers, echo, channel):
    for _ in range(2):
        servers.start().hook = failing(times=1)
    connected(channel, 2)
    call = echo.Count(THREE)
    until(lambda: call._call.attempts and call._inner is not None and not call.done())
    assert texts(call) == ["0", "1", "2"]


def test_the_same_requests_go_to_the_next_attempt(servers, echo, channel):
    services = [servers.start() for _ in range(2)]
    connected(channel, 2)
    for service in services:
        service.hook = failing(times=1)
    assert echo.Join(requests(5)).text == "0,1,2,3,4"
    assert sum(len(s.seen) for s in services) == 3
    for service in services:
        service.hook = failing(times=1)
    assert echo.Join.future(requests(5)).result(LIMIT).text == "0,1,2,3,4"


def test_more_requests_than_are_kept_bind_the_call(servers, echo):
    services = [servers.start() for _ in range(2)]
    held = servers.event()

    async def fail_late(name, context):
        await held.wait()
        await context.abort(StatusCode.UNAVAILABLE, "too late")

    for service in services:
        service.hook = fail_late
    taken = []

    def big():
        for number in range(4):
            taken.append(number)
            if number == 3:
                servers.set(held)
            yield pb.EchoRequest(text="x" * (BUFFER_LIMIT // 2))

    with pytest.raises(seawall.CallError, match="than are kept"):
        echo.Join(big())
    assert sum(len(s.seen) for s in services) == 1


def test_a_long_upload_is_not_kept(servers, echo, channel):
    servers.start()
    piece = pb.EchoRequest(text="x" * 100_000)
    call = echo.Chat(piece for _ in range(30))
    for _ in range(30):
        assert len(next(call).text) == 100_000
    assert call._buffer._size <= BUFFER_LIMIT + 200_000
    assert next(call, None) is None


class Breaking(EchoService):
    """Counts to one, waits to be told, and breaks."""

    async def Count(self, request, context):
        self.go_on = asyncio.Event()
        yield self.reply("0", context)
        await self.go_on.wait()
        raise LookupError("broken")


def test_a_stream_that_breaks_half_way_raises_where_it_is_read(servers, echo):
    service = servers.start(Breaking)
    call = echo.Count(THREE)
    assert next(call).text == "0"
    servers.set(service.go_on)
    for _ in range(2):
        with pytest.raises(seawall.CallError) as caught:
            next(call)
        assert caught.value.code() is call.code() is StatusCode.INTERNAL
    assert call.exception().code() is StatusCode.INTERNAL


def test_a_conversation_with_effects_is_not_repeated(servers, echo):
    services = [servers.start() for _ in range(2)]
    for service in services:
        service.hook = failing()
    call = echo.Chat(requests())
    with pytest.raises(seawall.CallError) as caught:
        texts(call)
    assert caught.value.code() is StatusCode.UNAVAILABLE
    assert sum(len(s.seen) for s in services) == 1


def test_the_servers_status_is_told_although_the_client_still_writes(servers, echo):
    """grpc.aio says INTERNAL here now and then; the sync stack never does."""
    servers.start().hook = failing(StatusCode.PERMISSION_DENIED)
    for _ in range(20):
        with pytest.raises(seawall.CallError) as caught:
            texts(echo.Chat(requests(20)))
        assert caught.value.code() is StatusCode.PERMISSION_DENIED


def test_cancelling_before_the_first_message(servers, echo):
    service = servers.start()
    call = echo.Count(pb.EchoRequest(count=0, delay=30))
    servers.happened(service.running)
    reader = Caller(lambda: next(call))
    until(lambda: call._readers)
    assert call.cancel() and not call.cancel() and call.cancelled()
    with pytest.raises(seawall.CallError) as caught:
        reader.join()
    assert caught.value.code() is StatusCode.CANCELLED and call.code() is StatusCode.CANCELLED
    servers.happened(service.cancelled)


def test_cancelling_half_way_reaches_the_server(servers, echo, channel):
    service = servers.start()
    call = echo.Count(pb.EchoRequest(count=1, delay=30))
    assert next(call).text == "0"
    reader = Caller(lambda: next(call))
    assert call.cancel() and call.cancelled()
    with pytest.raises(seawall.CallError):
        reader.join()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    servers.happened(service.cancelled)
    until(lambda: endpoint_of(channel).outstanding == 0)


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_dropped_half_read_is_released(servers, echo, channel, read):
    service = servers.start()
    call = echo.Count(pb.EchoRequest(count=read, delay=30))
    for _ in range(read):
        next(call)
    servers.happened(service.running)
    assert endpoint_of(channel).outstanding == 1
    del call
    gc.collect()
    servers.happened(service.cancelled)
    until(lambda: endpoint_of(channel).outstanding == 0)


def test_a_conversation_dropped_half_read_is_released(servers, echo, channel):
    servers.start()
    more = threading.Event()

    def endless():
        yield pb.EchoRequest(text="x")
        more.wait(LIMIT)

    call = echo.Chat(endless())
    assert next(call).text == "x"
    assert endpoint_of(channel).outstanding == 1
    del call
    gc.collect()
    until(lambda: endpoint_of(channel).outstanding == 0)
    more.set()


def test_an_endpoint_is_busy_for_as_long_as_its_stream(servers, echo, channel):
    servers.start()
    more = threading.Event()

    def talk():
        yield pb.EchoRequest(text="x")
        assert more.wait(LIMIT)

    call = echo.Chat(talk())
    assert next(call).text == "x"
    assert endpoint_of(channel).outstanding == 1
    more.set()
    assert next(call, None) is None
    assert call.code() is StatusCode.OK
    assert endpoint_of(channel).outstanding == 0


class Uploads(EchoService):
    """Notes how each upload ends."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.ended = []

    async def Join(self, request_iterator, context):
        try:
            async for _ in request_iterator:
                self.running.set()
            await asyncio.sleep(0.5)  # grpc.aio ends the iteration first if the call is cancelled
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.ended.append("as if it were all")
        return pb.EchoReply()


@pytest.mark.parametrize("way", ["blocking", "future"])
def test_requests_that_fail_to_come_end_the_call(servers, echo, way):
    """And the server does not take what came for all there is."""
    service = servers.start(Uploads)

    def broken():
        yield pb.EchoRequest(text="0")
        servers.happened(service.running)
        raise LookupError("no more")

    with pytest.raises(seawall.CallError, match="no more") as caught:
        echo.Join(broken()) if way == "blocking" else echo.Join.future(broken()).result(LIMIT)
    assert caught.value.code() is StatusCode.CANCELLED
    assert isinstance(caught.value.__cause__, LookupError)
    servers.happened(service.cancelled)
    assert service.ended == []


def test_a_conversation_whose_requests_fail_to_come(servers, echo):
    servers.start()

    def broken():
        yield pb.EchoRequest(text="0")
        raise LookupError("no more")

    with pytest.raises(seawall.CallError, match="no more"):
        texts(echo.Chat(broken()))


def test_an_upload_that_is_cancelled_is_not_taken_for_complete(servers, echo):
    service = servers.start(Uploads)
    more = threading.Event()

    def endless():
        yield pb.EchoRequest(text="0")
        assert more.wait(LIMIT)

    call = echo.Join.future(endless())
    servers.happened(service.running)
    assert call.cancel()
    servers.happened(service.cancelled)
    more.set()
    assert service.ended == []


def test_requests_from_an_async_iterator_are_refused(servers, echo):
    async def wrong():
        yield pb.EchoRequest()

    with pytest.raises(TypeError, match="plain iterator"):
        echo.Join(wrong())
    with pytest.raises(TypeError, match="plain iterator"):
        echo.Chat(wrong())


def test_a_fallback_for_a_stream(servers, echo):
    servers.start().hook = failing()
    with seawall.options(fallback=[pb.EchoReply(text="a"), pb.EchoReply(text="b")]):
        call = echo.Count(THREE)
        assert texts(call) == ["a", "b"] and call.code() is StatusCode.OK
    with seawall.options(fallback=lambda *_: iter([pb.EchoReply(text="c")])):
        assert texts(echo.Count(THREE)) == ["c"]


@pytest.mark.parametrize("answer", [pb.EchoReply(), None], ids=["message", "none"])
def test_a_fallback_that_is_no_stream_is_told(servers, echo, answer):
    servers.start().hook = failing()
    with seawall.options(fallback=answer):
        with pytest.raises(seawall.CallError, match="no iterable"):
            texts(echo.Count(THREE))


def test_a_fallback_that_is_an_async_stream_is_told(servers, echo):
    servers.start().hook = failing()

    async def messages():
        yield pb.EchoReply()

    with seawall.options(fallback=lambda *_: messages()):
        with pytest.raises(seawall.CallError, match="a plain one"):
            texts(echo.Count(THREE))


def test_many_messages_keep_their_order(servers, echo):
    servers.start()
    assert texts(echo.Chat(requests(500))) == [str(n) for n in range(500)]


@pytest.fixture
def impatient(servers, url):
    """A stub whose streams have 0.2 s for their first message, at each attempt."""
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
        "perAttemptRecvTimeout": "0.2s",
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    with seawall.sync.connect(url, service_config=config) as channel:
        yield channel


def test_a_stream_without_a_first_message_is_tried_elsewhere(servers, impatient):
    services = [servers.start() for _ in range(2)]
    stub = pb_grpc.EchoStub(impatient)
    connected(impatient, 2)
    stuck = []

    async def first_is_stuck(name, context):
        if not stuck:
            stuck.append(name)
            await asyncio.sleep(30)

    for service in services:
        service.hook = first_is_stuck
    assert texts(stub.Count(THREE)) == ["0", "1", "2"]
    assert sum(len(s.seen) for s in services) == 2


def test_nobody_has_waited_for_a_message_that_nobody_asked_for(servers, impatient):
    """The limit passes while nobody reads; the stream is read to its end all the same."""
    services = [servers.start() for _ in range(2)]
    stub = pb_grpc.EchoStub(impatient)
    connected(impatient, 2)
    call = stub.Count(THREE)
    until(lambda: call._unread)
    assert texts(call) == ["0", "1", "2"]
    assert sum(len(s.seen) for s in services) == 1


def test_who_reads_late_has_the_whole_limit(servers, impatient):
    services = [servers.start() for _ in range(2)]
    stub = pb_grpc.EchoStub(impatient)
    connected(impatient, 2)
    stuck = []

    async def first_is_stuck(name, context):
        if not stuck:
            stuck.append(name)
            await asyncio.sleep(30)

    for service in services:
        service.hook = first_is_stuck
    call = stub.Count(THREE)
    until(lambda: call._unread)
    assert texts(call) == ["0", "1", "2"]
    assert sum(len(s.seen) for s in services) == 2
