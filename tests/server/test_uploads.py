"""Requests that come as a stream, whose caller goes away in the middle."""

import asyncio

import grpc
import pytest
from grpc import StatusCode, aio

from tests.hostile import DefEcho
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

MANY = 40
HELLO = pb.EchoRequest(text="hello")


class Uploads(DefEcho):
    """Notes how the streams of requests have ended that its ``def`` handlers read."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.begun = asyncio.Semaphore(0)
        self.ends = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def Join(self, request_iterator, context):
        return pb.EchoReply(text=",".join(self._read(request_iterator)))

    def Chat(self, request_iterator, context):
        for text in self._read(request_iterator):
            yield pb.EchoReply(text=text)

    def _read(self, requests):
        try:
            for request in requests:
                self._loop.call_soon_threadsafe(self.begun.release)
                yield request.text
        except (Exception, GeneratorExit) as error:
            self._end(type(error).__name__)
            raise
        self._end("whole")

    def _end(self, how):
        self._loop.call_soon_threadsafe(self.ends.put_nowait, how)


@pytest.fixture
async def uploads():
    settings = {"registry": "memory://uploads", "host": "127.0.0.1", "shedding": False}
    async with Uploads(**settings) as service:
        async with aio.insecure_channel(service.address) as channel:
            yield service, pb_grpc.EchoStub(channel)


async def ends(service, count):
    async with asyncio.timeout(20):
        return [await service.ends.get() for _ in range(count)]


@pytest.mark.parametrize("method", ["Join", "Chat"])
async def test_half_an_upload_is_no_whole_one(uploads, method):
    service, stub = uploads
    for _ in range(MANY):
        call = getattr(stub, method)()
        await call.write(HELLO)
        async with asyncio.timeout(20):
            await service.begun.acquire()
        call.cancel()
    assert "whole" not in await ends(service, MANY)
    call = getattr(stub, method)(timeout=20)
    await call.write(HELLO)
    await call.done_writing()
    assert (await call if method == "Join" else await call.read()).text == "hello"
    assert await ends(service, 1) == ["whole"]


async def test_a_deadline_in_the_middle_ends_the_reading(uploads):
    service, stub = uploads
    call = stub.Join(timeout=0.2)
    await call.write(HELLO)
    with pytest.raises(grpc.RpcError) as failed:
        await call
    assert failed.value.code() is StatusCode.DEADLINE_EXCEEDED
    assert "whole" not in await ends(service, 1)
