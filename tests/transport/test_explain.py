"""``explain()``: each attempt, whatever became of it, and of the call."""

from __future__ import annotations

import asyncio
import re

import pytest
from grpc import StatusCode

import seawall
from seawall.events import EndpointConnected
from tests.echo import failing
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
LIMIT = 10.0
NUMBER, WHERE, CODE = range(3)


def attempts(story: str) -> list[tuple[str, str, str]]:
    """(number, address, code) of each line about an attempt."""
    return re.findall(r"attempt (\d+) at (\S+) \(of \d+\): (\w+) after \d+\.\d ms", story)


@pytest.fixture
async def stub(registry):
    """Of a client that is connected to all three instances."""
    heard = Heard()
    async with seawall.connect(registry, listener=heard) as channel:
        made = pb_grpc.EchoStub(channel)
        task = asyncio.create_task(heard.told(EndpointConnected, 3))
        made.Say(REQUEST).cancel()
        await task
        yield made


@pytest.fixture
async def three(start):
    return [await start() for _ in range(3)]


async def test_the_attempt_that_answered_is_told_last(three, stub):
    call = stub.Say(REQUEST)
    await call
    ((number, address, code),) = attempts(call.explain())
    assert (number, code) == ("1", "OK")
    assert address in {service.address for service in three}


async def test_a_hedge_that_wins_and_those_that_lose(three, stub):
    async def slow(name, context):
        await asyncio.sleep(0.3)

    for service in three:
        service.hook = slow
    with seawall.options(hedge=0.05):
        call = stub.Say(REQUEST, timeout=LIMIT)
    await call
    told = attempts(call.explain())
    assert [one[NUMBER] for one in told] == ["1", "2", "1"]
    assert [one[CODE] for one in told] == ["DEADLINE_EXCEEDED", "CANCELLED", "OK"]
    assert told[0][WHERE] == told[2][WHERE] != told[1][WHERE]
    assert ": left running" in call.explain()
    assert "another attempt was answered first" in call.explain()


async def test_a_cancelled_call_had_an_attempt(three, stub):
    call = stub.Say(pb.EchoRequest(text="slow", delay=30))
    async with asyncio.timeout(LIMIT):
        while not any(service.running.is_set() for service in three):
            await asyncio.sleep(0)
    call.cancel()
    assert [one[CODE] for one in attempts(call.explain())] == ["CANCELLED"]
    assert "no attempt was sent" not in call.explain()


async def test_so_had_a_cancelled_stream(three, stub):
    call = stub.Count(pb.EchoRequest(text="x", count=10, delay=0.01))
    await call.read()
    assert [one[CODE] for one in attempts(call.explain())] == ["OK"]
    call.cancel()
    assert [one[CODE] for one in attempts(call.explain())] == ["CANCELLED"]


async def test_a_fallback_is_no_attempt(three, stub):
    for service in three:
        service.hook = failing(StatusCode.INTERNAL)
    with seawall.options(fallback=pb.EchoReply()):
        call = stub.Charge(REQUEST)
    await call
    assert [one[CODE] for one in attempts(call.explain())] == ["INTERNAL"]
    assert "answered by the fallback value" in call.explain()
