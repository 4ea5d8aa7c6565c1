"""When most instances vanish from the registry, those that still answer are kept."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

import seawall
from seawall.call import Change, Instance, Listing
from seawall.events import InstancesChanged, MassExpiry, RegistrationRestored
from seawall.registry import Registry
from seawall.testing.etcd import EtcdServer
from seawall.transport.health import Health
from tests.echo import EchoService, plain_server
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.etcd_fixtures import Proxy

SERVICE = "seawall.tests.Echo"
REQUEST = pb.EchoRequest(text="hello")


class Puppet(Registry):
    """Says what the test wants it to say."""

    def __init__(self) -> None:
        self.updates: asyncio.Queue = asyncio.Queue()

    async def register(self, instances):
        raise AssertionError("not asked")

    async def watch(self, service):
        while True:
            yield await self.updates.get()

    async def close(self):
        pass


class World:
    """A channel on a puppet registry, and what it tells."""

    def __init__(self) -> None:
        self.registry = Puppet()
        self.heard = Heard()
        self.channel = seawall.connect(self.registry, listener=self.heard)
        self.stub = pb_grpc.EchoStub(self.channel)

    def say(self, update) -> None:
        self.registry.updates.put_nowait(update)

    @property
    def addresses(self) -> set[str]:
        return {endpoint.address for endpoint in self.channel.discoveries[0].group.endpoints}


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.channel.close()


@pytest.fixture
async def servers(start):
    return [await start() for _ in range(3)]


def instances(servers) -> tuple[Instance, ...]:
    return tuple(
        Instance(SERVICE, f"i{n}", getattr(server, "address", server))
        for n, server in enumerate(servers)
    )


async def begin(world: World, listed: tuple[Instance, ...]) -> None:
    world.say(Listing(listed))
    for _ in listed:
        await world.stub.Say(REQUEST)
    group = world.channel.discoveries[0].group
    await world.heard.until(lambda: len(group.ready) == len(listed))


async def test_those_that_answer_are_kept_and_keep_their_statistics(world, servers):
    listed = instances(servers)
    await begin(world, listed)
    before = set(world.channel.discoveries[0].group.endpoints)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    assert world.heard.of(MassExpiry) == [MassExpiry(SERVICE, kept=3)]
    assert set(world.channel.discoveries[0].group.endpoints) == before
    assert (await world.stub.Say(REQUEST)).text == "hello"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("seawall.transport.doubt.ASK_AGAIN", 0.01)
    monkeypatch.setattr("seawall.transport.doubt.SILENT_FOR", 0.2)
    monkeypatch.setattr("seawall.transport.doubt.VAGUE_FOR", 0.2)


async def test_those_that_do_not_answer_are_dropped(world, servers, impatient):
    listed = instances(servers)
    await begin(world, listed)
    await servers[0].stop()
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    assert world.heard.of(MassExpiry) == [MassExpiry(SERVICE, kept=2)]
    await world.heard.until(lambda: len(world.addresses) == 2)
    assert world.addresses == {servers[1].address, servers[2].address}


async def test_one_unanswered_question_drops_nobody(world, servers, monkeypatch):
    asked = []

    async def silent_at_first(endpoint, service):
        asked.append(endpoint.address)
        return Health.SILENT if len(asked) <= 3 else Health.SERVES

    monkeypatch.setattr("seawall.transport.doubt.ASK_AGAIN", 0.01)
    monkeypatch.setattr("seawall.transport.doubt.health_of", silent_at_first)
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    assert len(asked) > 3 and len(world.addresses) == 3


async def test_another_service_at_the_address_is_not_taken_for_the_one_that_vanished(
    world, servers
):
    """Its server answers, and says that it has no such service."""
    listed = tuple(
        replace(one, metadata={"keepalive_permitted_ms": 4000}) for one in instances(servers)
    )
    await begin(world, listed)
    for server in servers:
        await server.server.health.set(SERVICE, 0)  # forgets it, as a server that never had it
        server.server.health._server_status.pop(SERVICE)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.until(lambda: not world.addresses)
    assert not world.heard.of(MassExpiry)


async def test_the_dead_are_not_asked_again_with_each_further_loss(world, start, impatient):
    servers = [await start() for _ in range(6)]
    listed = instances(servers)
    await begin(world, listed)
    for server in servers[:4]:
        await server.stop()
    world.say(Change(lost=frozenset(i.id for i in listed[:4])))
    await world.heard.until(lambda: len(world.addresses) == 2)
    before = len(world.heard.of(InstancesChanged))
    await servers[4].stop()
    world.say(Change(lost=frozenset({listed[4].id})))
    await world.heard.until(lambda: len(world.addresses) == 1)
    later = world.heard.of(InstancesChanged)[before:]
    assert [(event.added, event.removed) for event in later] == [((), (servers[4].address,))]


async def test_those_that_went_first_are_asked_with_the_others(world, servers):
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(lost=frozenset({"i0"})))
    await world.heard.until(lambda: len(world.addresses) == 2)
    world.say(Change(lost=frozenset({"i1"})))
    await world.heard.told(MassExpiry)
    assert world.addresses == {server.address for server in servers}
    assert world.heard.of(MassExpiry) == [MassExpiry(SERVICE, kept=2)]


async def test_one_of_three_is_believed(world, servers):
    await begin(world, instances(servers))
    world.say(Change(lost=frozenset({"i0"})))
    await world.heard.until(lambda: len(world.addresses) == 2)
    assert not world.heard.of(MassExpiry)


async def test_goodbyes_are_believed_however_many(world, servers):
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(left=frozenset(i.id for i in listed)))
    await world.heard.until(lambda: not world.addresses)
    assert not world.heard.of(MassExpiry)


async def test_a_listing_is_believed(world, servers):
    await begin(world, instances(servers))
    world.say(Listing(()))
    await world.heard.until(lambda: not world.addresses)
    assert not world.heard.of(MassExpiry)


async def test_a_kept_one_that_says_goodbye_goes(world, servers):
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    world.say(Change(left=frozenset({"i1"})))
    await world.heard.until(lambda: servers[1].address not in world.addresses)
    assert len(world.addresses) == 2


async def test_a_kept_one_that_is_listed_again_is_an_ordinary_one(world, servers, monkeypatch):
    monkeypatch.setattr("seawall.transport.doubt.ASK_AGAIN", 0.01)
    listed = instances(servers)
    await begin(world, listed)
    kept = world.channel.discoveries[0].group.endpoint_of(listed[0])
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    world.say(Change(put=listed))
    for server in servers[1:]:
        await server.stop()
    # No longer asked: they are listed, and it is their connections that tell.
    await world.heard.until(lambda: len(world.channel.discoveries[0].group.ready) == 1)
    assert len(world.addresses) == 3
    assert world.channel.discoveries[0].group.endpoint_of(listed[0]) is kept


async def test_a_kept_one_that_stops_answering_goes(world, servers, impatient):
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    await servers[2].stop()
    await world.heard.until(lambda: world.addresses == {s.address for s in servers[:2]})


async def test_servers_without_the_health_protocol_are_kept_for_a_while(world, monkeypatch):
    class Plain(pb_grpc.EchoServicer):
        async def Say(self, request, context):
            return pb.EchoReply(text=request.text)

    monkeypatch.setattr("seawall.transport.doubt.ASK_AGAIN", 0.01)
    async with plain_server(Plain()) as one:
        await begin(world, instances([one]))
        world.say(Change(lost=frozenset({"i0"})))
        await world.heard.told(MassExpiry)
        assert world.addresses == {one}
        monkeypatch.setattr("seawall.transport.doubt.VAGUE_FOR", 0.0)
        await world.heard.until(lambda: not world.addresses)


async def test_the_channel_can_be_closed_in_the_middle(world, servers):
    listed = instances(servers)
    await begin(world, listed)
    world.say(Change(lost=frozenset(i.id for i in listed)))
    await world.heard.told(MassExpiry)
    asking = {task for task in asyncio.all_tasks() if "doubts" in task.get_name()}
    assert asking
    await world.channel.close()
    assert all(task.done() for task in asking)


@pytest.mark.timeout(60)
async def test_owners_cut_off_from_etcd_stay_in_use():
    """Their leases run out while they serve as ever; when they are back, all is as before."""
    async with EtcdServer() as etcd, Proxy(etcd.client_port) as proxy, AsyncExitStack() as stack:
        owners, heard = Heard(), Heard()
        for _ in range(2):
            await stack.enter_async_context(
                EchoService(registry=f"etcd://{proxy.address}/seawall?ttl=1", listener=owners)
            )
        channel = await stack.enter_async_context(
            seawall.connect(f"etcd://{etcd.address}/seawall?ttl=1", listener=heard)
        )
        stub = pb_grpc.EchoStub(channel)
        await stub.Say(REQUEST)
        group = channel.discoveries[0].group
        await heard.until(lambda: len(group.ready) == 2)
        addresses = {endpoint.address for endpoint in group.endpoints}
        await proxy.cut()
        # The first to go may have been believed, half being half: it is taken back.
        await heard.told(MassExpiry)
        await heard.until(lambda: {endpoint.address for endpoint in group.ready} == addresses)
        assert (await stub.Say(REQUEST)).text == "hello"
        await proxy.mend()
        await owners.told(RegistrationRestored, 2)
        assert {endpoint.address for endpoint in group.ready} == addresses
