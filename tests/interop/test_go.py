"""A Go client on Python instances by etcd's own resolver, and a Python client on Go instances."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

import seawall
from seawall.call import Instance
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.testing.etcd import EtcdServer
from tests.echo import EchoService
from tests.interop.program import LIMIT, GoProgram, build
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

# The first test waits for the Go program to be built.
pytestmark = pytest.mark.timeout(660)

SERVICE = "seawall.tests.Echo"
TARGET = f"seawall/{SERVICE}"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("interop"))


@pytest.fixture
def etcd(program: Path) -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


class GoLoad:
    """Calls of a Go client, without a pause, until the end of the ``with``."""

    def __init__(self, client: GoProgram) -> None:
        self._client = client
        self.failures: list[str] = []
        self._news = asyncio.Event()
        self._asked = 0
        self._latest: Counter[str] = Counter()

    async def until(self, *addresses: str) -> None:
        """Wait until just these instances answer."""
        async with asyncio.timeout(LIMIT):
            while set(self._latest) != set(addresses):
                assert not self._task.done(), self._task.exception()
                self._news.clear()
                await self._news.wait()

    async def more(self) -> None:
        """Wait for calls that begin from now on."""
        wanted = self._asked + 2
        async with asyncio.timeout(LIMIT):
            while self._asked < wanted:
                assert not self._task.done(), self._task.exception()
                self._news.clear()
                await self._news.wait()

    async def _call(self) -> None:
        try:
            while True:
                answers = await self._client.call(20)
                self._asked += 1
                self._latest = answers.instances
                self.failures += answers.failures
                self._news.set()
        finally:
            self._news.set()

    async def __aenter__(self) -> GoLoad:
        self._task = asyncio.create_task(self._call())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@asynccontextmanager
async def listed(etcd: EtcdServer) -> AsyncIterator[Callable[..., object]]:
    """A function that waits until a Python client's list is as a condition wants it."""
    registry = EtcdRegistry(etcd.url)
    try:
        async with aclosing(registry.lists(SERVICE)) as lists:

            async def becomes(right: Callable[[tuple[Instance, ...]], bool]) -> None:
                async with asyncio.timeout(LIMIT):
                    async for instances in lists:
                        if right(instances):
                            return
                raise AssertionError("the watch has ended")

            yield becomes
    finally:
        await registry.close()


async def test_a_go_client_follows_python_instances(program: Path, etcd: EtcdServer) -> None:
    facts = {"registry": etcd.url, "labels": {"racks": [{"row": 1}]}}
    async with (
        EchoService(zone="a", **facts) as first,
        GoProgram(program, "client", etcd.address, TARGET) as client,
        GoLoad(client) as load,
    ):
        await load.until(first.address)
        async with EchoService(zone="b", **facts) as second:
            await load.until(first.address, second.address)
        await load.until(first.address)
        async with EchoService(zone="c", **facts) as third:
            await load.until(first.address, third.address)
        assert load.failures == []


async def test_a_go_client_with_the_default_policy_survives_a_change(
    program: Path, etcd: EtcdServer
) -> None:
    """It compares addresses, and metadata with them: an object there makes it panic."""
    go = GoProgram(program, "client", etcd.address, TARGET, policy="pick_first")
    async with EchoService(registry=etcd.url) as first, go as client, GoLoad(client) as load:
        await load.until(first.address)
        async with EchoService(registry=etcd.url) as second:
            await first.set_labels(color="blue")
            await load.more()
            await first.stop()
            await load.until(second.address)
        assert load.failures == []


async def test_a_python_client_follows_a_go_instance(program: Path, etcd: EtcdServer) -> None:
    async with (
        GoProgram(program, "server", etcd.address, TARGET) as server,
        listed(etcd) as becomes,
        seawall.connect(etcd.url) as channel,
    ):
        address = await server.hear()
        go = Instance(SERVICE, address, address, {"zone": "a"})
        await becomes(lambda instances: instances == (go,))
        reply = await pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text="hello"), timeout=LIMIT)
        assert (reply.text, reply.instance) == ("hello", address)
        await server.tell("b")
        moved = Instance(SERVICE, address, address, {"zone": "b"})
        await becomes(lambda instances: instances == (moved,))
        await server.leave()
        await becomes(lambda instances: instances == ())


async def test_a_go_instance_leaves_and_no_call_of_python_fails(
    program: Path, etcd: EtcdServer
) -> None:
    async with (
        EchoService(registry=etcd.url) as python,
        GoProgram(program, "server", etcd.address, TARGET) as server,
        listed(etcd) as becomes,
        seawall.connect(etcd.url) as channel,
    ):
        both = {await server.hear(), python.address}
        await becomes(lambda instances: {one.address for one in instances} == both)
        say = pb_grpc.EchoStub(channel).Say
        answered: set[str] = set()
        async with asyncio.timeout(LIMIT):
            while answered != both:
                answered.add((await say(pb.EchoRequest(), timeout=5)).instance)
            leaving = asyncio.create_task(server.leave())
            alone = asyncio.create_task(
                becomes(lambda instances: {one.address for one in instances} == {python.address})
            )
            while not (leaving.done() and alone.done()):
                answered = {(await say(pb.EchoRequest(), timeout=5)).instance}
        await leaving
        await alone
        assert answered == {python.address}
