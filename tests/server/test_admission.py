"""Admission on a real server: who waits, who is refused and how, what travels, who is exempt."""

import asyncio
import threading
import time
from collections import Counter

import grpc
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import seawall
from seawall import ConfigError, Service, client
from seawall.admission.gate import WINDOW
from seawall.context import inbound
from seawall.criticality import Criticality
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.test_unary import until

REQUEST = pb.EchoRequest(text="hello")
SHEDDABLE = (("seawall-criticality", "sheddable"),)
ONCE = {"methodConfig": [{"name": [{}], "seawall": {"retries": False}}]}


class Held:
    """A hook for handlers: each waits until it is let go."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def __call__(self, name, context):
        await self.free.wait()


@pytest.fixture
async def bare(start):
    """Starts a server; returns it and a plain stub of it."""
    channels = []

    async def begin(**settings):
        service = await start(**settings)
        channels.append(aio.insecure_channel(service.address))
        return service, pb_grpc.EchoStub(channels[-1])

    yield begin
    for channel in channels:
        await channel.close()


async def test_who_waits_too_long_is_refused_and_told_that_it_was_not_run(bare):
    service, stub = await bare(max_concurrency=1)
    service.hook = held = Held()
    async with asyncio.timeout(10):
        first = stub.Say(REQUEST)
        await service.running.wait()
        for metadata in (SHEDDABLE, None):
            with pytest.raises(aio.AioRpcError) as caught:
                await stub.Say(REQUEST, metadata=metadata)
            assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
            assert "not run" in caught.value.details()
            pushback = dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]
            assert 50 <= int(pushback) <= 150
        held.free.set()
        assert (await first).text == "hello"
    assert service.seen == ["Say"]
    assert set(service.server.admission.refused) == {("sheddable", "queue"), ("critical", "queue")}


async def test_who_waits_is_admitted_when_there_is_room(bare):
    service, stub = await bare(max_concurrency=2)
    service.hook = held = Held()
    async with asyncio.timeout(10):
        calls = [stub.Say(REQUEST) for _ in range(3)]
        await until(lambda: service.server.admission.waiting() == 1)
        assert service.server.meter.report().in_flight == 3, "what waits is in flight, too"
        held.free.set()
        await asyncio.gather(*calls)
    assert service.server.admission.waiting() == 0


async def test_who_gives_up_leaves_the_queue(bare):
    service, stub = await bare(max_concurrency=1)
    service.hook = held = Held()
    async with asyncio.timeout(10):
        first = stub.Say(REQUEST)
        await service.running.wait()
        second = stub.Say(REQUEST)
        await until(lambda: service.server.admission.waiting() == 1)
        second.cancel()
        await until(lambda: service.server.admission.waiting() == 0)
        held.free.set()
        await first
        assert (await stub.Say(REQUEST)).text == "hello"
    assert len(service.seen) == 2


async def test_a_stream_is_refused_alike(bare):
    _, stub = await bare(method_limits={"seawall.tests.Echo/Count": 1})
    async with asyncio.timeout(10):
        first = stub.Count(pb.EchoRequest(count=1, delay=30))
        await first.read()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Count(pb.EchoRequest(count=1)).read()
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Say(REQUEST)).text == "hello", "other methods have no limit"
        first.cancel()


class Blocking(Service, pb_grpc.EchoServicer):
    """``def`` handlers, held until they are let go."""

    def __init__(self, **settings):
        super().__init__(**{"settle": 0.0, **settings})
        self.free = threading.Event()
        self.begun = []

    def Say(self, request, context):
        self.begun.append((request.text, inbound.get().criticality))
        assert self.free.wait(10)
        return pb.EchoReply(text=request.text)


async def test_def_handlers_wait_for_their_threads_the_critical_ones_first(registry):
    service = Blocking(registry=registry, threads=1)
    async with service, aio.insecure_channel(service.address) as channel, asyncio.timeout(10):
        stub = pb_grpc.EchoStub(channel)
        calls = [stub.Say(pb.EchoRequest(text="first"))]
        await until(lambda: service.begun)
        for number, metadata in enumerate(((("seawall-criticality", "sheddable_plus"),), None), 1):
            calls.append(stub.Say(pb.EchoRequest(text=str(number)), metadata=metadata))
            await until(lambda number=number: service.server.admission.waiting() == number)
        service.free.set()
        await asyncio.gather(*calls)
    assert service.begun == [
        ("first", Criticality.CRITICAL),
        ("2", Criticality.CRITICAL),
        ("1", Criticality.SHEDDABLE_PLUS),
    ]


async def test_def_handlers_that_get_no_thread_are_refused_and_the_given_up_never_begin(registry):
    service = Blocking(registry=registry, threads=1)
    async with service, aio.insecure_channel(service.address) as channel, asyncio.timeout(10):
        stub = pb_grpc.EchoStub(channel)
        first = stub.Say(pb.EchoRequest(text="first"))
        await until(lambda: service.begun)
        second = stub.Say(pb.EchoRequest(text="given up"))
        await until(lambda: service.server.admission.waiting() == 1)
        second.cancel()
        await until(lambda: service.server.admission.waiting() == 0)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Say(pb.EchoRequest(text="refused"), metadata=SHEDDABLE)
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        service.free.set()
        await first
        assert (await stub.Say(pb.EchoRequest(text="next"))).text == "next"
    assert [text for text, _ in service.begun] == ["first", "next"]


class Hop(Service, pb_grpc.RelayServicer):
    echo = client(pb_grpc.EchoStub)

    async def Forward(self, request, context):
        return await self.echo.Say(request)


@pytest.mark.parametrize("chosen", ["sheddable", "critical_plus", None])
async def test_the_class_travels_with_the_calls_made_for_a_request(registry, chosen):
    found = []

    async def hook(name, context):
        found.append(inbound.get().criticality)

    echo = EchoService(registry=registry)
    echo.hook = hook
    async with echo, Hop(registry=registry, settle=0.0), seawall.connect(registry) as fleet:
        stub = pb_grpc.RelayStub(fleet)
        if chosen is None:
            await stub.Forward(REQUEST)
        else:
            with seawall.options(criticality=chosen):
                await stub.Forward(REQUEST)
    assert found == [Criticality[(chosen or "critical").upper()]]


async def test_a_class_that_nobody_knows_is_critical(bare):
    service, stub = await bare()
    found = []

    async def hook(name, context):
        found.append(inbound.get().criticality)

    service.hook = hook
    for value in ("vital", "", "SHEDDABLE", "critical"):
        await stub.Say(REQUEST, metadata=(("seawall-criticality", value),))
    assert found == [Criticality.CRITICAL] * 4


def test_an_unknown_class_is_refused_where_it_is_chosen():
    with pytest.raises(ValueError, match="sheddable, sheddable_plus, critical, critical_plus"):
        with seawall.options(criticality="vital"):
            pass


async def shed_all(service):
    """Have the gate of ``service`` let next to nothing in."""
    gate, now = service.server.admission.gate, time.monotonic()
    while gate.rate != 10.0:
        for _ in range(100):
            gate.admits(Criticality.CRITICAL)
        gate.waited(5.0, 100)
        now += WINDOW
        gate.turn(now)
    service.server.admission.close()  # nothing is measured any more that would open it


async def test_health_passes_the_gate(bare):
    service, stub = await bare()
    await shed_all(service)
    async with aio.insecure_channel(service.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            await health.Check(health_pb2.HealthCheckRequest())
    with pytest.raises(aio.AioRpcError) as caught:
        await asyncio.gather(*(stub.Say(REQUEST) for _ in range(20)))
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_keeps_back_what_would_be_shed(start, registry):
    service = await start()
    async with seawall.connect(registry, service_config=ONCE) as fleet:
        stub = pb_grpc.EchoStub(fleet)
        await fleet.channel_ready()
        await shed_all(service)
        async with asyncio.timeout(20):
            while seawall.Throttled not in [await _outcome(stub) for _ in range(10)]:
                pass
        with seawall.options(criticality="critical_plus"):
            assert (await stub.Say(REQUEST)).text == "hello", "another class is not kept back"


async def _outcome(stub):
    try:
        await stub.Say(REQUEST)
    except seawall.Throttled:
        return seawall.Throttled
    except seawall.CallError as error:
        return error.code()
    return StatusCode.OK


def flood(address: str, calls: int) -> list[StatusCode]:
    """Make so many calls at once, from a thread: the server's event loop has no part in it."""
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.EchoStub(channel)
        futures = [stub.Say.future(REQUEST) for _ in range(calls)]
        return [future.code() for future in futures]


async def test_the_wait_behind_others_is_measured_and_too_long_a_one_is_shed(start):
    service = await start()

    async def hook(name, context):
        time.sleep(0.02)  # noqa: ASYNC251 - a handler that blocks its loop

    service.hook = hook
    codes = Counter(await asyncio.to_thread(flood, service.address, 100))
    assert service.server.admission.gate.shedding
    assert set(codes) == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
    assert codes[StatusCode.OK] >= 20
    assert service.seen == ["Say"] * codes[StatusCode.OK], "what was refused was not run"


async def test_with_shedding_off_the_gate_stays_open(start):
    service = await start(shedding=False)

    async def hook(name, context):
        time.sleep(0.02)  # noqa: ASYNC251

    service.hook = hook
    codes = await asyncio.to_thread(flood, service.address, 60)
    assert codes == [StatusCode.OK] * 60
    assert not service.server.admission.refused


async def test_a_stream_over_the_grace_is_told_why_it_ends(bare):
    service, stub = await bare(grace=0.05)
    async with asyncio.timeout(10):
        stream = stub.Count(pb.EchoRequest(count=1, delay=30))
        await stream.read()
        stopping = asyncio.create_task(service.stop())
        with pytest.raises(aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is StatusCode.UNAVAILABLE
        assert "another instance" in caught.value.details()
        assert ("seawall-resume", "1") in tuple(caught.value.trailing_metadata())
        await stopping


async def test_connections_are_replaced_at_their_age_and_no_call_fails(start, registry):
    service = await start(max_connection_age=0.2, unix_socket=False)
    peers = set()

    async def hook(name, context):
        peers.add(context.peer())

    service.hook = hook
    async with seawall.connect(registry) as fleet:
        stub = pb_grpc.EchoStub(fleet)
        async with asyncio.timeout(20):
            while len(peers) < 3:
                await stub.Charge(REQUEST)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": True}, "max_concurrency"),
        ({"method_limits": {"a.B/C": 1.5}}, "a.B/C"),
        ({"threads": 0}, "threads"),
        ({"shedding": "yes"}, "shedding"),
        ({"max_connection_age": 0.0}, "max_connection_age"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(registry, settings, named):
    with pytest.raises(ConfigError, match=named):
        await EchoService(registry=registry, **settings).start()
