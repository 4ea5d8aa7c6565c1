"""What the tests of last good lists share. Import the fixtures into the test module."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from seawall.call import Instance, Update
from seawall.events import Event
from seawall.registry import Registry
from seawall.registry.memory import MemoryRegistry
from seawall.registry.snapshots import Remembering
from seawall.registry.snapshots.format import Snapshot, decode, encode, file_name
from seawall.registry.snapshots.store import Store
from seawall.testing.registry import no_more_tasks_than

LIMIT = 20.0
"""Seconds that a test waits for something before it fails."""
IDENTITY = "gated://shop"
SERVICE = "shop.v1.Inventory"


def instance(id_: str, port: int = 1001) -> Instance:
    return Instance(SERVICE, id_, f"127.0.0.1:{port}", {"zone": "a"})


ONE, TWO = instance("one", 1001), instance("two", 1002)


class Gated(MemoryRegistry):
    """Lists nothing while it is away."""

    identity = IDENTITY

    def __init__(self, url: str) -> None:
        self.events: list[Event] = []
        super().__init__(url, self.events.append)
        self.here = asyncio.Event()
        self.here.set()
        self.refusal: Exception | None = None

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        await self.here.wait()
        if self.refusal is not None:
            raise self.refusal
        async with contextlib.aclosing(super().watch(service)) as updates:
            async for update in updates:
                yield update


class Setting:
    """Registries of processes that share a directory; ``gated`` is the one below them."""

    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory
        self.path = directory / file_name(IDENTITY, SERVICE)
        self.gated = Gated(f"memory://{name}")
        self.opened: list[Remembering] = []

    @property
    def events(self) -> list[Event]:
        return self.gated.events

    def open(self) -> Remembering:
        self.opened.append(Remembering(self.gated, self.directory))
        return self.opened[-1]

    def put(self, *instances: Instance, age: float = 60.0) -> None:
        """Have a snapshot on disk, as another process would have left it."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        data = encode(IDENTITY, SERVICE, instances, time.time() - age)
        assert data is not None
        self.path.write_bytes(data)
        self.path.chmod(0o600)

    def saved(self) -> Snapshot | None:
        """What is on disk."""
        try:
            return decode(self.path.read_bytes(), IDENTITY, SERVICE)
        except FileNotFoundError:
            return None

    def ids(self) -> set[str]:
        saved = self.saved()
        return {one.id for one in saved.instances} if saved else set()


class Disk:
    """A store, what it has told, and the file of ``SERVICE``."""

    def __init__(self, directory: Path) -> None:
        self.events: list[Event] = []
        self.store = Store(directory, IDENTITY, self.events.append)
        self.path = directory / file_name(IDENTITY, SERVICE)

    async def save(self, *instances: Instance, age: float = 0.0) -> bool:
        async with asyncio.timeout(LIMIT):
            return await self.store.save(SERVICE, instances, time.time() - age) is not None

    async def ids(self) -> list[str] | None:
        async with asyncio.timeout(LIMIT):
            snapshot = await self.store.load(SERVICE)
        return None if snapshot is None else [one.id for one in snapshot.instances]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "cache" / "snapshots")


@pytest_asyncio.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    """All that is opened on it is closed at the end, and must leave no task behind."""
    before = asyncio.all_tasks()
    made = Setting(tmp_path.name, tmp_path / "snapshots")
    yield made
    async with asyncio.timeout(LIMIT):
        for registry in made.opened:
            await registry.close()
    # pytest-asyncio runs a fixture's end in a task of its own
    await no_more_tasks_than(before | {asyncio.current_task()})


@contextlib.contextmanager
def reading(registry: Registry) -> Iterator[asyncio.Task[None]]:
    """A task that reads a watch for as long as this lasts."""

    async def read() -> None:
        async for _ in registry.watch(SERVICE):
            pass

    task = asyncio.create_task(read())
    try:
        yield task
    finally:
        task.cancel()


async def eventually(right: Callable[[], bool]) -> None:
    """Wait until something on disk, or in another thread, is so."""
    async with asyncio.timeout(LIMIT):
        while not right():
            await asyncio.sleep(0.005)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], list[object]]:
    """Counts the calls of a function, which goes on doing what it does."""

    def begin(owner: object, name: str) -> list[object]:
        calls: list[object] = []
        real = getattr(owner, name)

        def counted(*args: object, **options: object) -> object:
            calls.append(args)
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return begin
