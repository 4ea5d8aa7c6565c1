"""Facts that change while a service runs, and what its clients make of them."""

import asyncio

import pytest

import seawall
from seawall import ConfigError, NoEndpoints, ServiceError
from seawall.events import EndpointLost, FactsChanged
from seawall.registry.memory import MemoryRegistry
from tests.echo import EchoService
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.test_unary import until

REQUEST = pb.EchoRequest(text="hello")


class Client:
    def __init__(self, registry: str) -> None:
        self.heard = Heard()
        self.channel = seawall.connect(registry, listener=self.heard)
        self.stub = pb_grpc.EchoStub(self.channel)

    @property
    def group(self):
        return self.channel.discoveries[0].group

    def facts(self, service: EchoService) -> dict:
        (endpoint,) = (e for e in self.group.endpoints if e.address == service.address)
        return endpoint.instance.metadata


@pytest.fixture
async def client(registry):
    made = Client(registry)
    yield made
    await made.channel.close()


async def pair(start, client) -> tuple[EchoService, EchoService]:
    one, other = await start(), await start()
    await client.stub.Say(REQUEST)
    async with asyncio.timeout(10):
        while len(client.group.ready) < 2:
            await client.channel.discoveries[0].change()
    return one, other


async def test_a_paused_service_gets_no_calls_and_loses_no_connection(start, client):
    one, _ = await pair(start, client)
    await one.pause()
    await client.heard.told(FactsChanged)
    one.seen.clear()
    for _ in range(20):
        await client.stub.Say(REQUEST)
    assert not one.seen
    await one.resume()
    await client.heard.told(FactsChanged, 2)
    async with asyncio.timeout(10):
        while not one.seen:
            await client.stub.Say(REQUEST)
    assert not client.heard.of(EndpointLost)
    assert "paused" not in client.facts(one)


async def test_a_call_under_way_goes_on_when_its_instance_pauses(start, client):
    service = await start()
    call = client.stub.Say(pb.EchoRequest(text="slow", delay=0.2))
    await service.running.wait()
    await service.pause()
    assert (await call).text == "slow"


async def test_when_all_are_paused_the_error_says_so(start, client):
    service = await start()
    await client.stub.Say(REQUEST)
    await service.pause()
    await client.heard.told(FactsChanged)
    with pytest.raises(
        NoEndpoints, match=r"all 1 listed instances of seawall\.tests\.Echo are paused"
    ):
        await client.stub.Say(REQUEST)
    waiting = asyncio.ensure_future(_say(client.stub, wait_for_ready=True))
    await service.resume()
    async with asyncio.timeout(10):
        assert (await waiting).text == "hello"


async def _say(stub, **options):
    return await stub.Say(REQUEST, **options)


async def test_health_follows(start):
    service = await start()
    statuses = service.server.health.statuses
    assert set(statuses.values()) == {1}
    await service.pause()
    assert set(statuses.values()) == {2}
    await service.resume()
    assert set(statuses.values()) == {1}


async def test_a_weight_is_seen_and_followed(start, client):
    one, other = await pair(start, client)
    await one.set_weight(0.25)
    await client.heard.told(FactsChanged)
    assert client.facts(one)["weight"] == 0.25
    one.seen.clear(), other.seen.clear()
    let_go = asyncio.Event()

    async def hold(name, context):
        await let_go.wait()

    one.hook = other.hook = hold
    calls = [client.stub.Charge(REQUEST) for _ in range(50)]  # no second attempts beside them
    async with asyncio.timeout(10):
        await until(lambda: len(one.seen) + len(other.seen) == 50)
        let_go.set()
        await asyncio.gather(*calls)
    assert 9 <= len(one.seen) <= 11  # a fifth by the weights, while all are outstanding
    assert not client.heard.of(EndpointLost)


async def test_labels_are_added_changed_and_taken_away(start, client):
    service = await start(labels={"rack": "7", "tier": 1})
    await client.stub.Say(REQUEST)
    await service.set_labels(rack="8", tier=None, owner=["ann"])
    await client.heard.told(FactsChanged)
    facts = client.facts(service)
    assert facts["rack"] == "8" and facts["owner"] == ["ann"] and "tier" not in facts


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "2", True, None])
async def test_a_weight_is_a_number_above_0(start, weight):
    service = await start()
    with pytest.raises(ConfigError, match="weight"):
        await service.set_weight(weight)
    if weight is not None:
        with pytest.raises(ConfigError, match="weight"):
            await start(weight=weight)


async def test_the_frameworks_own_facts_are_no_labels(start):
    service = await start()
    for name in ("zone", "paused", "started_at"):
        with pytest.raises(ConfigError, match=name):
            await service.set_labels(**{name: 1})
        with pytest.raises(ConfigError, match=name):
            await start(labels={name: 1})


async def test_only_a_started_service_has_facts(registry):
    service = EchoService(registry=registry)
    with pytest.raises(ServiceError):
        await service.pause()
    async with service:
        pass
    with pytest.raises(ServiceError, match="not serving"):
        await service.pause()


async def test_a_service_may_start_paused(registry, client):
    class Careful(EchoService):
        async def on_start(self):
            await self.pause()

    async with Careful(registry=registry) as service:
        waiting = asyncio.ensure_future(_say(client.stub, wait_for_ready=True))
        async with asyncio.timeout(10):
            while not client.group.endpoints:
                await client.channel.discoveries[0].change()
        assert client.facts(service)["paused"] is True
        assert set(service.server.health.statuses.values()) == {2}
        await service.resume()
        async with asyncio.timeout(10):
            assert (await waiting).text == "hello"
        assert set(service.server.health.statuses.values()) == {1}


async def test_what_changes_while_it_is_being_announced_is_announced(registry, client):
    class Slow(MemoryRegistry):
        async def register(self, instances):
            begun.set()
            await go_on.wait()
            return await super().register(instances)

    begun, go_on = asyncio.Event(), asyncio.Event()
    service = EchoService(registry=Slow(registry))
    starting = asyncio.ensure_future(service.start())
    await begun.wait()
    await service.set_weight(3)
    go_on.set()
    await starting
    try:
        await client.stub.Say(REQUEST)
        assert client.facts(service)["weight"] == 3
    finally:
        await service.stop()


async def test_a_label_that_is_not_json_changes_nothing(start, client):
    service = await start()
    with pytest.raises(ConfigError, match="labels: can't be written as JSON"):
        await service.set_labels(rack=object())
    await service.set_weight(2)
    await client.stub.Say(REQUEST)
    assert client.facts(service)["weight"] == 2


async def test_pause_and_resume_at_once_agree_in_the_end(start, client):
    service = await start()
    await asyncio.gather(service.pause(), service.resume(), service.pause(), service.resume())
    await client.stub.Say(REQUEST)
    assert "paused" not in client.facts(service)
    assert set(service.server.health.statuses.values()) == {1}
