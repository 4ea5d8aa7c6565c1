"""Three layers of three attempts are not 27 calls."""

import asyncio
import uuid

import pytest
from grpc import StatusCode

import seawall
from seawall import Service
from tests.echo import EchoService, failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")


class Relay(Service, pb_grpc.RelayServicer):
    """Hands a request on to the next one's registry."""

    def __init__(self, registry: str, following: str, stub: type) -> None:
        super().__init__(registry=registry, settle=0.0)
        self._following, self._stub = following, stub

    async def on_start(self):
        self.channel = seawall.connect(self._following)
        self.next = self._stub(self.channel)

    async def on_stop(self):
        await self.channel.close()

    async def Forward(self, request, context):
        say = self.next.Say if self._stub is pb_grpc.EchoStub else self.next.Forward
        return await say(request)


@pytest.fixture
async def chain():
    """Two relays in three copies each, and an echo at the end; yields the first's URL, the echo."""
    urls = [f"memory://{uuid.uuid4().hex}" for _ in range(3)]
    echo = EchoService(registry=urls[2])
    services = [
        echo,
        *(Relay(urls[1], urls[2], pb_grpc.EchoStub) for _ in range(3)),
        *(Relay(urls[0], urls[1], pb_grpc.RelayStub) for _ in range(3)),
    ]
    for service in services:
        await service.start()
    yield urls[0], echo
    for service in reversed(services):
        await service.stop()


async def test_a_failure_at_the_bottom_is_not_multiplied(chain):
    url, echo = chain
    echo.hook = failing(StatusCode.UNAVAILABLE)
    async with seawall.connect(url) as channel:
        with pytest.raises(seawall.CallError) as failed:
            await pb_grpc.RelayStub(channel).Forward(REQUEST, timeout=10)
    assert failed.value.code() is StatusCode.UNAVAILABLE
    assert len(failed.value.attempts) == 3
    assert 3 <= len(echo.seen) <= 7


async def test_a_passing_failure_is_mended_at_the_bottom(chain):
    url, echo = chain
    echo.hook = failing(StatusCode.UNAVAILABLE, times=2)
    async with seawall.connect(url) as channel:
        call = pb_grpc.RelayStub(channel).Forward(REQUEST, timeout=10)
        assert (await call).text == "hello"
        assert not call._call.attempts
    assert len(echo.seen) == 3


async def test_what_a_repeated_attempt_asks_for_is_told_to_its_server(chain, start, echo):
    service = await start()
    seen = []

    async def hook(name, context):
        seen.append(dict(context.invocation_metadata()))
        if len(seen) < 3:
            await context.abort(StatusCode.UNAVAILABLE, "not yet")

    service.hook = hook
    async with asyncio.timeout(10):
        await echo.Say(REQUEST)
    assert [got.get("seawall-attempt") for got in seen] == [None, "2", "3"]
    assert [got.get("seawall-no-retry") for got in seen] == [None, "1", "1"]
