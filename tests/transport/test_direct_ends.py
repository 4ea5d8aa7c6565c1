"""Unary calls whose channel, instance or event loop goes, and whose waiting is given up."""

from __future__ import annotations

import asyncio
import threading

import pytest
from grpc import StatusCode

import seawall
from seawall.call import Listing
from seawall.transport import discovery
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)
LIMIT = 20.0


@pytest.mark.parametrize(("grace", "code"), [(None, "CANCELLED"), (0.05, "CANCELLED"), (9, "OK")])
async def test_calls_end_with_their_channel(start, registry, grace, code):
    service = await start()
    async with seawall.connect(registry) as channel, asyncio.timeout(LIMIT):
        call = pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text="x", delay=0.5), timeout=10)
        await service.running.wait()
        await channel.close(grace)
        assert (await call.code()).name == code


async def test_calls_at_an_instance_that_has_left_end_with_its_grace(start, channel, echo):
    service = await start()
    call = echo.Charge(SLOW, timeout=10)
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(discovery, "RETIRE_GRACE", 0.0)
            for found in channel.discoveries:
                found._apply(Listing(()))
        assert await call.code() is not StatusCode.OK
        await service.cancelled.wait()


async def test_waiting_for_the_connection_of_a_call_that_fails_raises_its_error(start, echo):
    (await start()).hook = failing(StatusCode.NOT_FOUND)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(seawall.NotFound):
            await echo.Charge(REQUEST).wait_for_connection()
        call = echo.Charge(REQUEST)
        assert list(await call.initial_metadata()) == []
        assert await call.code() is StatusCode.NOT_FOUND


async def test_waiting_can_be_given_up_and_the_call_goes_on(start, echo):
    service = await start()
    call = echo.Say(pb.EchoRequest(text="x", delay=0.3))
    await service.running.wait()
    for wait in (call.initial_metadata, call.wait_for_connection, call.code, call.details):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(LIMIT):
        assert (await call).text == "x"


async def test_two_event_loops_hear_of_each_others_events(start):
    url = f"static://{(await start(host='127.0.0.1', unix_socket=False)).address}"

    async def calls() -> list[bool]:
        async with seawall.connect(url) as channel, asyncio.timeout(LIMIT):
            stub, mine = pb_grpc.EchoStub(channel), threading.get_ident()
            here: list[bool] = []
            for n in range(100):
                call = stub.Say(pb.EchoRequest(text=str(n)))
                call.add_done_callback(lambda _: here.append(threading.get_ident() == mine))
                await call
            await asyncio.sleep(0)
            return here

    there = asyncio.to_thread(asyncio.run, calls())
    assert await asyncio.gather(calls(), there) == [[True] * 100] * 2
