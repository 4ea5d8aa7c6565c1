"""A service in this process: found, healthy, reflecting, passing deadlines on, stopping well."""

import asyncio
import logging
import socket

import grpc
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import seawall
from seawall import Service, client
from seawall.server.health.servicer import NOT_SERVING, SERVING
from seawall.server.lifecycle import Server
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.test_unary import until

REQUEST = pb.EchoRequest(text="hello")


class Hop(Service, pb_grpc.RelayServicer):
    """Passes calls on to an Echo service."""

    echo = client(pb_grpc.EchoStub)

    def __init__(self, **settings):
        super().__init__(**{"settle": 0.0, **settings})
        self.remaining = None
        self.cancelled = asyncio.Event()

    async def Forward(self, request, context):
        self.remaining = context.time_remaining()
        try:
            return await self.echo.Say(request)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def stub_of(address, make):
    channel = aio.insecure_channel(address)
    return channel, make(channel)


async def test_health_of_the_server_and_of_each_service(start):
    service = await start()
    async with aio.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "seawall.tests.Echo"):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="no.Such"))
        assert caught.value.code() is StatusCode.NOT_FOUND
        listed = await stub.List(health_pb2.HealthListRequest())
        assert {n: s.status for n, s in listed.statuses.items()} == {
            "": SERVING, "seawall.tests.Echo": SERVING,
        }  # fmt: skip


async def test_health_is_watched_to_the_end(start):
    service = await start(settle=0.2)
    async with aio.insecure_channel(service.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(service.stop())
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        await stopping


async def test_reflection_names_the_services(start):
    service = await start()
    async with aio.insecure_channel(service.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for reply in stub.ServerReflectionInfo(iter([request])):
            names = {s.name for s in reply.list_services_response.service}
    assert {"seawall.tests.Echo", "grpc.health.v1.Health"} <= names


async def test_a_deadline_shrinks_from_hop_to_hop(registry):
    async with EchoService(registry=registry), Hop(registry=registry) as hop:
        async with seawall.connect(registry) as channel:
            for timeout in (0.5, 1.0, 3.0, 20.0, 300.0):
                reply = await pb_grpc.RelayStub(channel).Forward(REQUEST, timeout=timeout)
                assert reply.remaining < hop.remaining < timeout


async def test_a_cancelled_call_is_cancelled_all_the_way_down(registry):
    async with EchoService(registry=registry) as echo, Hop(registry=registry) as hop:
        async with seawall.connect(registry) as channel:
            call = pb_grpc.RelayStub(channel).Forward(pb.EchoRequest(delay=30))
            await echo.running.wait()
            call.cancel()
            async with asyncio.timeout(5):
                await hop.cancelled.wait()
                await echo.cancelled.wait()


async def test_a_passed_deadline_cancels_all_the_way_down(registry):
    async with EchoService(registry=registry) as echo, Hop(registry=registry):
        async with seawall.connect(registry) as channel:
            with pytest.raises(seawall.CallError) as caught:
                await pb_grpc.RelayStub(channel).Forward(pb.EchoRequest(delay=30), timeout=0.3)
            assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
            async with asyncio.timeout(5):
                await echo.cancelled.wait()


async def test_an_exception_stays_in_the_process(start, echo, caplog):
    service = await start()

    async def hook(name, context):
        raise RuntimeError("password is hunter2")

    service.hook = hook
    with pytest.raises(seawall.CallError) as caught, caplog.at_level(logging.ERROR, "seawall"):
        await echo.Charge(REQUEST)
    details = caught.value.details()
    assert caught.value.code() is StatusCode.INTERNAL and "hunter2" not in details
    identity = details.partition("error id ")[2].rstrip("]")
    assert len(identity) == 12 and identity in caplog.text and "hunter2" in caplog.text


@pytest.mark.parametrize("arity", ["Count", "Join", "Chat"])
async def test_exceptions_of_streams_are_kept_too(start, echo, arity):
    async def hook(name, context):
        raise RuntimeError("password is hunter2")

    (await start()).hook = hook
    with pytest.raises(seawall.CallError) as caught:
        if arity == "Count":
            await echo.Count(pb.EchoRequest(count=1)).read()
        elif arity == "Join":
            await echo.Join([])
        else:
            await echo.Chat([]).read()
    assert caught.value.code() is StatusCode.INTERNAL
    assert "hunter2" not in caught.value.details()


async def test_a_method_that_is_not_written(start, echo, registry):
    class Empty(Service, pb_grpc.RelayServicer):
        pass

    async with Empty(registry=registry, settle=0.0), seawall.connect(registry) as channel:
        with pytest.raises(seawall.CallError) as caught:
            await pb_grpc.RelayStub(channel).Forward(REQUEST)
    assert caught.value.code() is StatusCode.UNIMPLEMENTED
    assert "Forward is not implemented" in caught.value.details()


async def test_a_dependencys_failure_is_passed_on_without_its_words(registry):
    async with EchoService(registry=registry) as echo, Hop(registry=registry):

        async def hook(name, context):
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, "secret of the dependency")

        echo.hook = hook
        async with seawall.connect(registry) as channel:
            with pytest.raises(seawall.CallError) as caught:
                await pb_grpc.RelayStub(channel).Forward(REQUEST)
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert "secret" not in caught.value.details()


async def test_plain_functions_are_handlers_too(registry):
    class Sync(Service, pb_grpc.EchoServicer):
        def Say(self, request, context):
            return pb.EchoReply(text=request.text, remaining=context.time_remaining())

        def Charge(self, request, context):
            raise ValueError("hunter2")

        def Count(self, request, context):
            for number in range(request.count):
                yield pb.EchoReply(text=str(number))
            if request.text:
                raise ValueError("hunter2")

        def Join(self, requests, context):
            context.abort(StatusCode.NOT_FOUND, "nothing to join")

    async with Sync(registry=registry, settle=0.0), seawall.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        assert (await stub.Say(REQUEST)).text == "hello"
        assert [r.text async for r in stub.Count(pb.EchoRequest(count=2))] == ["0", "1"]
        for call in (stub.Charge(REQUEST), stub.Count(REQUEST).read()):
            with pytest.raises(seawall.CallError) as caught:
                await call
            assert caught.value.code() is StatusCode.INTERNAL
            assert "hunter2" not in caught.value.details()


async def test_start_and_stop_hooks_run_with_working_clients(registry):
    order = []

    class Hooked(Hop):
        async def on_start(self):
            order.append((await self.echo.Say(REQUEST)).text)

        async def on_stop(self):
            order.append((await self.echo.Say(REQUEST)).text)

    async with EchoService(registry=registry), Hooked(registry=registry):
        order.append("running")
    assert order == ["hello", "running", "hello"]


async def test_a_start_that_fails_leaves_nothing(registry, channel):
    class Broken(EchoService):
        async def on_start(self):
            raise RuntimeError("no database")

    service = Broken(registry=registry)
    with pytest.raises(RuntimeError, match="no database"):
        await service.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", service.port))
    with pytest.raises(seawall.NoEndpoints):
        await pb_grpc.EchoStub(channel).Say(REQUEST)


async def test_a_missing_dependency_is_told_and_does_not_block(registry, caplog):
    with caplog.at_level(logging.WARNING, "seawall"):
        async with Hop(registry=registry, dependency_timeout=0.1):
            pass
    assert "starting without seawall.tests.Echo" in caplog.text


async def test_calls_under_way_finish_within_the_grace(start, echo):
    service = await start(grace=5.0)
    call = echo.Say(pb.EchoRequest(text="slow", delay=0.3))
    await service.running.wait()
    await service.stop()
    assert (await call).text == "slow"


async def test_calls_over_the_grace_are_cut_off(start, echo):
    service = await start(grace=0.1)
    call = echo.Charge(pb.EchoRequest(delay=30))
    await service.running.wait()
    async with asyncio.timeout(5):
        await service.stop()
    with pytest.raises(seawall.CallError):
        await call


async def test_stopping_twice_waits_for_the_same_end(start):
    service = await start()
    await asyncio.gather(service.stop(), service.stop())
    await service.stop()


async def test_no_call_fails_while_instances_are_replaced(start, echo, channel):
    """Not even one with effects: what was not run is known not to have been."""
    services = [await start(settle=0.1) for _ in range(3)]
    await until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == 3)
    done = asyncio.Event()
    failures, answered = [], []

    async def load():
        while not done.is_set():
            try:
                await echo.Charge(pb.EchoRequest(delay=0.002))
                answered.append(1)
            except grpc.RpcError as error:
                failures.append(str(error))

    loads = [asyncio.create_task(load()) for _ in range(4)]
    for service in services:
        await start(settle=0.1)
        await service.stop()
    done.set()
    await asyncio.gather(*loads)
    assert failures == [] and len(answered) > 50


async def test_several_services_share_a_process(registry):
    class Both(EchoService, pb_grpc.RelayServicer):
        async def Forward(self, request, context):
            return pb.EchoReply(text="both")

    async with Both(registry=registry) as both, seawall.connect(registry) as channel:
        assert both.server.names == ["seawall.tests.Echo", "seawall.tests.Relay"]
        assert (await pb_grpc.EchoStub(channel).Say(REQUEST)).text == "hello"
        assert (await pb_grpc.RelayStub(channel).Forward(REQUEST)).text == "both"


async def test_services_of_one_process_do_not_wait_for_each_other(registry, caplog):
    class Both(Hop, EchoService):
        async def Forward(self, request, context):
            return await self.echo.Say(request)

    with caplog.at_level(logging.WARNING, "seawall"):
        async with Both(registry=registry), seawall.connect(registry) as channel:
            reply = await pb_grpc.RelayStub(channel).Forward(REQUEST)
    assert reply.text == "hello"
    assert "starting without" not in caplog.text


async def test_a_service_twice_in_a_process(registry):
    first, second = EchoService(registry=registry), EchoService(registry=registry)
    server = Server([first, second], first._settings)
    with pytest.raises(seawall.ServiceError, match=r"seawall\.tests\.Echo is implemented by two"):
        await server.start()


async def test_a_service_without_a_servicer(registry):
    class Nothing(Service):
        pass

    with pytest.raises(seawall.ServiceError, match="class Nothing\\(Service, inventory_pb2_grpc"):
        await Nothing(registry=registry).start()


async def test_a_port_that_is_taken(start, registry):
    service = await start()
    other = EchoService(registry=registry, port=service.port)
    with pytest.raises(seawall.ServiceError, match=f"port {service.port}.*in use.*SEAWALL_PORT"):
        await other.start()


async def test_a_misspelt_setting():
    with pytest.raises(seawall.ServiceError, match="no argument 'prot'; known: registry"):
        EchoService(prot=1)


@pytest.mark.parametrize(("variable", "value"), [("SEAWALL_PORT", "many"), ("SEAWALL_GRACE", "-1")])
async def test_settings_from_the_environment_are_checked(monkeypatch, variable, value, registry):
    monkeypatch.setenv(variable, value)
    with pytest.raises(seawall.ConfigError):
        await EchoService(registry=registry).start()


async def test_keyword_over_environment_over_default(monkeypatch, registry):
    monkeypatch.setenv("SEAWALL_VERSION", "1")
    monkeypatch.setenv("SEAWALL_ZONE", "north")
    seen = []
    async with EchoService(registry=registry, version="2", labels={"team": "x"}):
        async with seawall.connect(registry) as channel:
            await pb_grpc.EchoStub(channel).Say(REQUEST)
            seen = channel.discoveries[0].group.endpoints[0].instance.metadata
    assert seen["version"] == "2" and seen["zone"] == "north" and seen["team"] == "x"


async def test_clients_before_the_start():
    with pytest.raises(seawall.ServiceError, match="not started"):
        Hop(registry="memory://x").echo  # noqa: B018


async def test_advertised_addresses(start):
    assert (await start(advertise="shop.example")).address.startswith("shop.example:")
    assert (await start(advertise="shop.example:99")).address == "shop.example:99"


async def test_a_service_can_be_started_again(registry):
    async with EchoService(registry=registry):
        hop = Hop(registry=registry)
        for _ in range(2):
            await hop.start()
            async with seawall.connect(registry) as channel:
                assert (await pb_grpc.RelayStub(channel).Forward(REQUEST)).text == "hello"
            await hop.stop()


async def test_a_second_start_is_refused(start):
    service = await start()
    with pytest.raises(seawall.ServiceError, match="started already"):
        await service.start()


async def test_a_stop_during_the_start_leaves_nothing(registry, channel):
    class Slow(EchoService):
        async def on_start(self):
            self.running.set()
            await asyncio.sleep(30)

    service = Slow(registry=registry)
    starting = asyncio.create_task(service.start())
    await service.running.wait()
    async with asyncio.timeout(5):
        await service.stop()
        with pytest.raises(asyncio.CancelledError):
            await starting
    with pytest.raises(seawall.NoEndpoints):
        await pb_grpc.EchoStub(channel).Say(REQUEST)


async def test_a_handler_that_raises_cancelled_answers_all_the_same(start, echo):
    async def hook(name, context):
        raise asyncio.CancelledError

    (await start()).hook = hook
    async with asyncio.timeout(5):
        with pytest.raises(seawall.CallError) as caught:
            await echo.Charge(REQUEST)
    assert caught.value.code() is StatusCode.INTERNAL


async def test_health_list_tells_of_the_drain(start):
    service = await start(settle=0.3)
    async with aio.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stopping = asyncio.create_task(service.stop())
        async with asyncio.timeout(5):
            while (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING:
                await asyncio.sleep(0)
        listed = await stub.List(health_pb2.HealthListRequest())
        assert {s.status for s in listed.statuses.values()} == {NOT_SERVING}
        await stopping


async def test_an_ipv6_address_is_advertised_with_its_port(start):
    service = await start(advertise="fd00::12")
    assert service.address == f"[fd00::12]:{service.port}"
