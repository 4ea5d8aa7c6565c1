"""Calls that a server hung up on: sent again where nobody has run them, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from seawall.transport import unsent
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.leaving_server import Leaves, LeavingServer

REQUEST = pb.EchoRequest(text="hello")
UNSEEN, SEEN, WORDLESS = Leaves.UNSEEN, Leaves.SEEN, Leaves.WORDLESS

pytestmark = pytest.mark.skipif(
    not unsent.words_known(), reason=f"the words of gRPC {grpc.__version__} are not known"
)


class Aio:
    def __init__(self, channel):
        self._stub = pb_grpc.EchoStub(channel)

    def start(self):
        return self._stub.Charge(REQUEST, timeout=10)

    async def end(self, call):
        await call
        return call.explain()

    async def charge(self):
        return await self.end(self.start())


class Sync(Aio):
    def start(self):
        return self._stub.Charge.future(REQUEST, timeout=10)

    async def end(self, call):
        await asyncio.to_thread(call.result)
        return call.explain()


@pytest.fixture(params=[Aio, Sync])
def connected(request):
    """A function from servers to a way to call them."""

    @asynccontextmanager
    async def connect(*servers: LeavingServer) -> AsyncIterator[Aio | Sync]:
        url = "static://" + ",".join(server.address for server in servers)
        if request.param is Aio:
            async with seawall.connect(url) as channel:
                yield Aio(channel)
        else:
            channel = seawall.sync.connect(url)
            try:
                yield Sync(channel)
            finally:
                await asyncio.to_thread(channel.close)

    return connect


async def test_a_call_that_a_leaving_server_has_not_seen_goes_to_the_other(connected):
    async with LeavingServer(UNSEEN) as one, LeavingServer(UNSEEN) as other:
        async with connected(one, other) as client:
            story = await client.charge()
    assert story.count("UNAVAILABLE") in (1, 2)
    assert "it never reached the server: Stream removed (GOAWAY received" in story
    assert one.seen + other.seen == story.count("UNAVAILABLE") + 1


async def _requests():
    for _ in range(3):
        yield REQUEST


async def _joined(stub):
    assert isinstance(await stub.Join(_requests(), timeout=10), pb.EchoReply)


async def _chatted(stub):
    assert [reply async for reply in stub.Chat(_requests(), timeout=10)] == [pb.EchoReply()]


async def _counted(stub):
    assert [reply async for reply in stub.Count(REQUEST, timeout=10)] == [pb.EchoReply()]


@pytest.mark.parametrize("stream", [_joined, _chatted, _counted])
async def test_streams_that_a_leaving_server_has_not_seen_go_elsewhere(stream):
    """Also those whose requests were being written, which grpc.aio says INTERNAL of."""
    async with LeavingServer(UNSEEN) as one, LeavingServer(UNSEEN) as other:
        async with seawall.connect(f"static://{one.address},{other.address}") as channel:
            for _ in range(3):
                await stream(pb_grpc.EchoStub(channel))
    assert one.seen + other.seen in (4, 5)


async def test_a_stream_that_was_seen_ends_with_the_true_status():
    async with LeavingServer(*[WORDLESS] * 20) as server:
        async with seawall.connect(f"static://{server.address}") as channel:
            for _ in range(10):
                with pytest.raises(seawall.Unavailable):
                    await _chatted(pb_grpc.EchoStub(channel))


async def test_the_only_server_is_asked_again_once_it_is_back(connected):
    async with LeavingServer(UNSEEN) as server, connected(server) as client:
        story = await client.charge()
        assert story.count("it never reached the server") == 1
        assert server.seen == 2


async def test_a_server_that_leaves_for_ever_is_not_asked_for_ever(connected):
    async with LeavingServer(*[UNSEEN] * 1000) as server, connected(server) as client:
        with pytest.raises(grpc.RpcError) as caught:
            await client.charge()
        assert caught.value.code() is StatusCode.UNAVAILABLE
        assert 2 <= server.seen < 10


@pytest.mark.parametrize("way", [SEEN, WORDLESS])
async def test_a_call_that_may_have_been_seen_is_not_sent_again(connected, way):
    async with LeavingServer(way) as one, LeavingServer(way) as other:
        async with connected(one, other) as client:
            with pytest.raises(grpc.RpcError) as caught:
                await client.charge()
    assert caught.value.code() is StatusCode.UNAVAILABLE
    assert "may have been run and is not marked idempotent" in caught.value.explain()
    assert one.seen + other.seen == 1


async def test_a_call_that_waited_for_a_stream_goes_on_when_the_connection_has_ended(connected):
    async with LeavingServer(UNSEEN, streams=1) as server, connected(server) as client:
        calls = [client.start()]
        await server.held.wait()
        calls += [client.start() for _ in range(5)]
        server.hang_up.set()
        await asyncio.gather(*map(client.end, calls))
        assert server.seen == 7


WORDS = [
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: refused",
    "Stream removed (GOAWAY received; Error code: 0; Debug Text: )",
    "Stream removed (Transport closed (Delayed close due to in-progress write (Socket closed)))",
    "ipv4:127.0.0.1:43405: subchannel lost all connections",
]


@pytest.mark.parametrize("words", WORDS)
def test_words_that_say_so(words):
    assert unsent.says_unsent(StatusCode.UNAVAILABLE, words)
    assert not unsent.says_unsent(StatusCode.INTERNAL, words)
    assert not unsent.says_unsent(StatusCode.UNAVAILABLE, unsent.in_own_words(words))


@pytest.mark.parametrize("words", WORDS)
async def test_said_by_a_server_they_say_nothing(connected, start, words):
    """They are of a call of its own, which it made for the one that it has run."""
    service = await start(host="127.0.0.1", unix_socket=False)
    service.hook = failing(details=words)
    async with connected(service) as client:
        with pytest.raises(grpc.RpcError) as caught:
            await client.charge()
    assert caught.value.details() == words
    assert "may have been run" in caught.value.explain()
    assert len(service.seen) == 1


@pytest.mark.parametrize(
    "words",
    [
        "Stream removed (Socket closed)",
        "Stream removed (Socket closed (GOAWAY received; Error code: 0; Debug Text: ))",
        "Stream removed (Delayed close due to in-progress write (Socket closed))",
        "Stream removed (sendmsg: Broken pipe (32))",
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))",
        "",
    ],
)
def test_words_that_leave_it_open(words):
    assert not unsent.says_unsent(StatusCode.UNAVAILABLE, words)


@pytest.mark.parametrize(
    ("version", "known"), [("1.84.2", True), ("1.85.0", True), ("1.86.0", False), ("1.8.6", False)]
)
def test_where_the_words_are_not_known_the_core_sends_again_by_itself(version, known, monkeypatch):
    monkeypatch.setattr(unsent.grpc, "__version__", version)
    assert bool(unsent.retry_options()) is known
    monkeypatch.setenv("SEAWALL_GRPC", "public")
    assert unsent.retry_options() == []
