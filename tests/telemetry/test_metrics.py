"""What real calls of a client are counted as."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc import StatusCode

import seawall
from seawall.events import EndpointConnected, RegistrationRestored
from seawall.telemetry import catalogue
from seawall.telemetry.log import guarded
from seawall.telemetry.store import Metrics
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.telemetry.measured import series
from tests.transport.leaving_server import Leaves, LeavingServer

REQUEST = pb.EchoRequest(text="hello")
SERVICE = "seawall.tests.Echo"
SAY, CHARGE, COUNT = (f"{SERVICE}/{name}" for name in ("Say", "Charge", "Count"))
LIMIT = 10.0


@pytest.fixture
def metrics(measured: Metrics) -> Metrics:
    """Measured from before the channel is made, as fixtures are made in this order."""
    return measured


@pytest.fixture
async def echo(metrics, registry):
    async with seawall.connect(registry) as channel:
        yield pb_grpc.EchoStub(channel)


async def test_while_nobody_reads_nothing_stands_in_the_way(registry, monkeypatch):
    monkeypatch.setattr("seawall.telemetry.metrics._metrics", None)
    async with seawall.connect(registry) as channel:
        setting = channel.router._setting
        assert setting.outer is None and setting.inner is None


async def test_a_call(metrics, start, echo):
    await start()
    for _ in range(3):
        await echo.Say(REQUEST)
    labels = (SAY, SERVICE)
    assert series(metrics, catalogue.ATTEMPT_STARTED) == {labels: 3}
    assert series(metrics, catalogue.ATTEMPT_DURATION) == {(*labels, "OK"): 3}
    assert series(metrics, catalogue.CALL_DURATION) == {(*labels, "OK"): 3}
    assert series(metrics, catalogue.CALL_RETRIES) == {}


async def test_the_time_it_takes(metrics, start, echo):
    await start()
    await echo.Say(pb.EchoRequest(text="slow", delay=0.06))
    (family,) = (f for f in metrics.collect() if f.instrument is catalogue.CALL_DURATION)
    assert 0.06 <= family.series[SAY, SERVICE, "OK"].sum < LIMIT


async def test_retries(metrics, start, echo):
    service = await start()
    service.hook = failing(times=2)
    await echo.Say(REQUEST)
    service.hook = failing(StatusCode.NOT_FOUND)
    with pytest.raises(grpc.RpcError):
        await echo.Say(REQUEST)
    labels = (SAY, SERVICE)
    assert series(metrics, catalogue.ATTEMPT_STARTED) == {labels: 4}
    assert series(metrics, catalogue.ATTEMPT_DURATION) == {
        (*labels, "UNAVAILABLE"): 2,
        (*labels, "OK"): 1,
        (*labels, "NOT_FOUND"): 1,
    }
    assert series(metrics, catalogue.CALL_DURATION) == {
        (*labels, "OK"): 1,
        (*labels, "NOT_FOUND"): 1,
    }
    (family,) = (f for f in metrics.collect() if f.instrument is catalogue.CALL_RETRIES)
    assert family.series[labels].counts == (0, 1, 0, 0, 0, 0)


async def test_attempts_that_all_fail(metrics, start, echo):
    (await start()).hook = failing()
    with pytest.raises(grpc.RpcError):
        await echo.Say(REQUEST)
    (family,) = (f for f in metrics.collect() if f.instrument is catalogue.CALL_RETRIES)
    assert family.series[SAY, SERVICE].sum == 2


async def test_an_answer_that_is_no_servers_is_no_attempt(metrics, start, echo):
    (await start()).hook = failing()
    with seawall.options(fallback=pb.EchoReply()):
        await echo.Charge(REQUEST)
        await echo.Say(REQUEST)
    (family,) = (f for f in metrics.collect() if f.instrument is catalogue.CALL_RETRIES)
    assert {labels: value.sum for labels, value in family.series.items()} == {(SAY, SERVICE): 2}


async def test_what_nobody_can_have_run_is_sent_again_for_nothing(metrics):
    async with LeavingServer(Leaves.UNSEEN) as server:
        async with seawall.connect(f"static://{server.address}") as channel:
            await pb_grpc.EchoStub(channel).Charge(REQUEST, timeout=LIMIT)
    free = series(metrics, catalogue.CALL_TRANSPARENT_RETRIES)
    assert free == {(CHARGE, SERVICE): 1}
    assert series(metrics, catalogue.CALL_RETRIES) == {}


async def test_a_hedge_and_the_attempt_that_lost(metrics, start, echo):
    slow, fast = await start(), await start()

    async def hold(name, context):
        await asyncio.sleep(LIMIT)

    slow.hook = hold
    with seawall.options(hedge=0.02):
        for _ in range(20):  # until one has gone to the slow instance first
            await echo.Say(REQUEST)
            if slow.seen:
                break
    hedges = series(metrics, catalogue.CALL_HEDGES)
    assert hedges == {(SAY, SERVICE): 1}
    assert series(metrics, catalogue.ATTEMPT_DURATION)[SAY, SERVICE, "CANCELLED"] == 1
    statuses = {labels[2] for labels in series(metrics, catalogue.CALL_DURATION)}
    assert statuses == {"OK"} and fast.seen


async def test_a_call_that_its_caller_gives_up(metrics, start, echo):
    service = await start()
    call = echo.Say(pb.EchoRequest(text="x", delay=LIMIT))
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
    call.cancel()
    assert series(metrics, catalogue.CALL_DURATION) == {(SAY, SERVICE, "CANCELLED"): 1}
    assert series(metrics, catalogue.ATTEMPT_DURATION) == {(SAY, SERVICE, "CANCELLED"): 1}


async def test_a_stream_ends_when_it_ends(metrics, start, echo):
    await start()
    call = echo.Count(pb.EchoRequest(count=3))
    assert (await call.read()).text == "0"
    assert series(metrics, catalogue.ATTEMPT_STARTED) == {(COUNT, SERVICE): 1}
    assert series(metrics, catalogue.CALL_DURATION) == {}
    assert [reply.text async for reply in call] == ["1", "2"]
    assert await call.code() is StatusCode.OK
    assert series(metrics, catalogue.CALL_DURATION) == {(COUNT, SERVICE, "OK"): 1}
    assert series(metrics, catalogue.ATTEMPT_DURATION) == {(COUNT, SERVICE, "OK"): 1}


async def test_a_stream_that_is_given_up_half_way(metrics, start, echo):
    await start()
    call = echo.Count(pb.EchoRequest(count=3, delay=LIMIT))
    await call.read()
    call.cancel()
    assert series(metrics, catalogue.CALL_DURATION) == {(COUNT, SERVICE, "CANCELLED"): 1}
    assert series(metrics, catalogue.ATTEMPT_DURATION) == {(COUNT, SERVICE, "CANCELLED"): 1}


async def test_what_the_framework_refuses(metrics, registry, echo):
    with pytest.raises(seawall.NoEndpoints):
        await echo.Say(REQUEST, timeout=LIMIT)
    assert series(metrics, catalogue.REFUSALS) == {(SAY, "no_endpoints"): 1}
    assert series(metrics, catalogue.ATTEMPT_STARTED) in ({}, {(SAY, SERVICE): 0})
    ((labels, count),) = series(metrics, catalogue.CALL_DURATION).items()
    assert labels[2] == "UNAVAILABLE" and count == 1


async def test_answers_in_place_of_a_servers_are_counted_by_kind(metrics, start, echo):
    (await start()).hook = failing()
    for source in (pb.EchoReply(), pb.EchoReply(), lambda call, failure: pb.EchoReply()):
        with seawall.options(fallback=source):
            await echo.Say(REQUEST)
    assert series(metrics, catalogue.FALLBACKS) == {(SAY, "value"): 2, (SAY, "function"): 1}
    assert series(metrics, catalogue.CALL_DURATION) == {(SAY, SERVICE, "OK"): 3}


async def test_how_the_instances_are(metrics, start, echo):
    await start()
    paused = await start()
    await echo.Say(REQUEST)
    await paused.pause()
    await echo.Say(REQUEST)

    def endpoints():
        found = series(metrics, catalogue.ENDPOINTS)
        return {state: count for (_, state), count in found.items() if count}

    async with asyncio.timeout(LIMIT):
        while endpoints() != {"ready": 1, "paused": 1}:
            await asyncio.sleep(0)
    assert series(metrics, catalogue.INSTANCES) == {(SERVICE,): 2}
    assert series(metrics, catalogue.OUTSTANDING) == {(SERVICE,): 0}
    assert series(metrics, catalogue.RETRY_BUDGET)[SERVICE,] > 1
    assert series(metrics, catalogue.REGISTRY_AVAILABLE) == {("memory",): True}
    assert series(metrics, catalogue.REGISTRY_LEASE) == {}


async def test_an_open_breaker(metrics, start, registry):
    (await start()).hook = failing(StatusCode.INTERNAL)
    async with seawall.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        for _ in range(5):
            with pytest.raises(grpc.RpcError):
                await stub.Say(REQUEST)
        assert series(metrics, catalogue.ENDPOINTS)[SERVICE, "open"] == 1
        assert series(metrics, catalogue.EVENTS)["BreakerChanged",] >= 1
    assert series(metrics, catalogue.ENDPOINTS) == {}  # a closed channel has none


async def test_an_event_is_counted_once_however_often_it_is_guarded(metrics):
    heard = []
    listener = guarded(guarded(heard.append))
    listener(EndpointConnected("s", "a"))
    listener(RegistrationRestored("etcd://", "why"))
    assert len(heard) == 2
    assert series(metrics, catalogue.EVENTS) == {
        ("EndpointConnected",): 1,
        ("RegistrationRestored",): 1,
    }
    assert series(metrics, catalogue.REPAIRS) == {("registration",): 1}


async def test_the_events_of_a_channel_are_counted_once(metrics, start, registry):
    await start()
    async with seawall.connect(registry) as channel:
        await pb_grpc.EchoStub(channel).Say(REQUEST)
    assert series(metrics, catalogue.EVENTS)["EndpointConnected",] == 1
