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

    async def charge(self, **how):
        call = self._stub.Charge(REQUEST, timeout=10, **how)
        await call
        return call.explain()


class Sync:
    def __init__(self, channel):
        self._stub = pb_grpc.EchoStub(channel)

    def _call(self, how):
        return self._stub.Charge.with_call(REQUEST, timeout=10, **how)[1].explain()

    async def charge(self, **how):
        return await asyncio.to_thread(self._call, how)


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
        first = asyncio.create_task(client.charge())
        await server.held.wait()
        others = [asyncio.create_task(client.charge()) for _ in range(5)]
        await asyncio.sleep(0)
        server.hang_up.set()
        await asyncio.gather(first, *others)
        assert server.seen == 7


WORDS = [
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: refused",
    "Stream removed (GOAWAY received; Error code: 0; Debug Text: )",
    "Stream removed (Transport closed (Delayed close due to in-progress write (Socket closed)))",
    "ipv4:127.0.0.1:43405: subchannel lost all connections",
]


@pytest.mark.parametrize("words", WORDS)
def test_words_that_say_so(words):
    told = unsent.unsent(StatusCode.UNAVAILABLE, words, connected=False)
    assert told is not None
    assert told.endswith(words)


@pytest.mark.parametrize("words", WORDS)
def test_handed_on_by_a_server_they_say_nothing(words):
    """What its own call has come to, as its caller was told it."""
    told = unsent.unsent(StatusCode.UNAVAILABLE, words, connected=False)
    assert unsent.unsent(StatusCode.UNAVAILABLE, told, connected=True) is None
    assert unsent.unsent(StatusCode.INTERNAL, words, connected=False) is None


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
    assert unsent.unsent(StatusCode.UNAVAILABLE, words, connected=False) is None


@pytest.mark.parametrize(
    ("version", "known"), [("1.84.2", True), ("1.85.0", True), ("1.86.0", False), ("1.8.6", False)]
)
def test_where_the_words_are_not_known_the_core_sends_again_by_itself(version, known, monkeypatch):
    monkeypatch.setattr(unsent.grpc, "__version__", version)
    assert bool(unsent.retry_options()) is known
    monkeypatch.setenv("SEAWALL_GRPC", "public")
    assert unsent.retry_options() == []
