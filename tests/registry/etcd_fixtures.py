"""What the tests of the etcd registry share. Import the fixtures into the test module."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from seawall.call import Instance
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.testing.etcd import EtcdServer
from seawall.testing.registry import no_more_tasks_than
from tests.heard import Heard

LIMIT = 20.0
"""Seconds that a test waits for an event before it fails."""

T = TypeVar("T")
Instances = tuple[Instance, ...]
OpenRegistry = Callable[[str], "Told"]


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    """An etcd that the tests of a module share: nobody may stop it."""
    with EtcdServer() as server:
        yield server


@pytest_asyncio.fixture
async def fragile() -> AsyncIterator[EtcdServer]:
    """An etcd of the test's own, to be frozen and killed."""
    async with EtcdServer() as server:
        yield server


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[OpenRegistry]:
    """Opens registries; they are closed at the end, and must leave no task behind."""
    before = asyncio.all_tasks()
    registries: list[Told] = []

    def open_(url: str) -> Told:
        registries.append(Told(url))
        return registries[-1]

    yield open_
    async with asyncio.timeout(LIMIT):
        for registry in registries:
            await registry.close()
    # pytest-asyncio runs a fixture's end in a task of its own
    await no_more_tasks_than(before | {asyncio.current_task()})


@pytest.fixture
def namespace() -> str:
    return f"test-{secrets.token_hex(4)}"


def service(name: str = "Inventory") -> str:
    return f"shop.v1.{name}"


def instance(id_: str = "i1", port: int = 1001, name: str = "Inventory", **facts: Any) -> Instance:
    return Instance(service(name), id_, f"127.0.0.1:{port}", facts)


class Told(Heard, EtcdRegistry):
    """A registry that keeps what it tells."""

    def __init__(self, url: str) -> None:
        Heard.__init__(self)
        EtcdRegistry.__init__(self, url, self)

    @property
    def endpoint_now(self) -> str | None:
        """The endpoint in use; None while there is none."""
        return self._client.current.endpoint if self._client.current else None

    @property
    def endpoint(self) -> str:
        assert self._client.current is not None
        return self._client.current.endpoint

    @property
    def lease(self) -> int:
        assert self._tenure is not None
        return self._tenure._lease.id


class Watching:
    """Reads a watch in the background and keeps every list."""

    def __init__(self, registry: EtcdRegistry, name: str = "Inventory") -> None:
        self.lists: list[Instances] = []
        self._news = asyncio.Event()
        self._watch = registry.lists(service(name))
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for instances in self._watch:
                self.lists.append(instances)
                self._news.set()
        finally:
            self._news.set()

    async def until(self, *ids: str) -> Instances:
        """Wait until the list holds exactly these ids."""
        return await self._until(lambda instances: {one.id for one in instances} == set(ids))

    async def shows(self, *expected: Instance) -> None:
        """Wait until the list is this one."""
        await self._until(lambda instances: instances == expected)

    async def _until(self, right: Callable[[Instances], bool]) -> Instances:
        async with asyncio.timeout(LIMIT):
            while not self.lists or not right(self.lists[-1]):
                if self.task.done():
                    await self.task
                    raise AssertionError("the watch has ended")
                self._news.clear()
                await self._news.wait()
        return self.lists[-1]

    async def __aenter__(self) -> Watching:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


class Proxy:
    """A TCP proxy before etcd that can be cut, and counts who connects."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections = 0
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            for task in tuple(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks))
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            back, out = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(_pour(reader, out), _pour(back, writer))
            finally:
                out.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def away(work: Callable[..., T], *args: Any) -> T:
    """Run something that blocks without stopping the loop."""
    return await asyncio.to_thread(work, *args)


async def within(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(LIMIT):
        return await work


async def keys(server: EtcdServer, namespace: str) -> dict[str, str]:
    """Keys and values as etcd has them."""
    lines = (await away(server.etcdctl, "get", "--prefix", f"{namespace}/")).splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))
