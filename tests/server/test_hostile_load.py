"""Callers that take and give nothing, or too much: what they hold is bounded, and let go."""

from __future__ import annotations

import asyncio
import struct

import pytest
from grpc import StatusCode, aio

from tests.echo import EchoService
from tests.hostile import ECHO, HELLO, DefEcho, Target
from tests.http2 import (
    DATA,
    Raw,
    frame,
    headers,
    message,
    request,
)
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.test_unary import until

LARGE = pb.EchoReply(text="x" * 1_000_000)
WIDE = struct.pack(">HI", 4, 2**31 - 1)
"""The setting of a client that wants all that there is, at once."""
ALL = message(pb.EchoRequest(count=10**9).SerializeToString())


class Fountain(EchoService):
    """Sends megabytes for as long as somebody takes them."""

    sent = 0
    closed = 0

    async def Count(self, request, context):
        try:
            while True:
                yield LARGE
                self.sent += 1
        finally:
            self.closed += 1


class DefFountain(DefEcho):
    """The same in a ``def`` handler."""

    sent = 0
    closed = 0

    def Count(self, request, context):
        try:
            while True:
                yield LARGE
                self.sent += 1
        finally:
            self.closed += 1


@pytest.fixture
def own(registry):
    """The settings of servers that the tests here start and stop by themselves."""
    return {"registry": registry, "host": "127.0.0.1", "shedding": False, "unix_socket": False}


@pytest.mark.parametrize("kind", [Fountain, DefFountain])
async def test_who_never_reads_is_sent_a_few_messages_and_no_more(own, kind):
    async with asyncio.timeout(20), kind(**own, grace=0.1) as service:
        target = Target(service)
        async with Raw(target.port) as connection:
            await connection.greet()
            await connection.call(1, ECHO + "Count", body=ALL)
            await until(lambda: service.server.meter.in_flight == 1)
            for _ in range(50):
                await target.answers()
            assert service.sent <= 10, "megabytes"
            await service.stop()  # the stream is cut when the grace is over
        await until(lambda: service.closed == 1)


async def test_who_takes_all_and_reads_nothing_is_held_by_tcp(own):
    async with asyncio.timeout(20), Fountain(**own, grace=0.1) as service:
        target = Target(service)
        async with Raw(target.port) as connection:
            await connection.greet(WIDE)
            await connection.send(frame(0x8, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))
            connection.writer.transport.pause_reading()
            await connection.call(1, ECHO + "Count", body=ALL)
            await until(lambda: service.sent > 0)
            for _ in range(50):
                await target.answers()
            assert service.sent <= 40, "megabytes: the buffers of two sockets, and gRPC's"
            await service.stop()
        await until(lambda: service.closed == 1)


@pytest.mark.parametrize("arity", ["Say", "Join", "Chat"])
@pytest.mark.parametrize("kind", [EchoService, DefEcho])
async def test_who_sends_a_byte_at_a_time_holds_up_nobody_and_no_stop(own, kind, arity):
    async with asyncio.timeout(20), kind(**own, grace=0.1) as service:
        target = Target(service)
        async with Raw(target.port) as connection:
            await connection.greet()
            await connection.send(headers(1, request(ECHO + arity)))
            for byte in HELLO[:-1]:
                await connection.send(frame(DATA, 0, 1, bytes([byte])))
                await target.answers()
            await service.stop()
            await connection.hung_up()


async def test_def_streams_that_are_cancelled_give_their_threads_back(own):
    """With grpc.aio's own way of running them each would keep one for ever."""
    async with asyncio.timeout(20), DefFountain(**own, threads=2) as service:
        target = Target(service)
        for _ in range(6):
            async with Raw(target.port) as connection:
                await connection.greet()
                await connection.call(1, ECHO + "Count", body=ALL)
                while (got := await connection.read()) is not None and got.kind != DATA:
                    pass
            await target.answers()
        await until(lambda: service.closed == 6 and service.server.meter.in_flight == 0)


async def test_a_def_stream_that_waits_for_its_caller_is_ended_with_the_call(own):
    async with asyncio.timeout(20), DefEcho(**own, threads=2) as service:
        async with aio.insecure_channel(service.address) as channel:
            stub = pb_grpc.EchoStub(channel)
            for _ in range(4):
                call = stub.Chat()
                await call.write(pb.EchoRequest(text="hello"))
                assert (await call.read()).text == "hello"
                call.cancel()
            assert (await stub.Say(pb.EchoRequest(text="hello"))).text == "hello"
        await until(lambda: service.server.meter.in_flight == 0)


async def test_def_handlers_that_all_wait_for_their_callers(own):
    """Calls beyond the threads are refused, not forgotten, until the callers have gone."""
    async with asyncio.timeout(20), DefEcho(**own, threads=2) as service:
        async with aio.insecure_channel(service.address) as channel:
            stub = pb_grpc.EchoStub(channel)
            calls = [stub.Join() for _ in range(2)]
            await until(lambda: service.server.meter.in_flight == 2)
            with pytest.raises(aio.AioRpcError) as caught:
                await stub.Say(pb.EchoRequest(text="hello"))
            assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
            for call in calls:
                call.cancel()
            await until(lambda: service.server.meter.in_flight == 0)
            assert (await stub.Say(pb.EchoRequest(text="hello"))).text == "hello"
