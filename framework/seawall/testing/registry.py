"""What every registry must do, as a test suite to run against one of your own.

Needs pytest and pytest-asyncio. Subclass, and say which URL to open::

    class TestMine(RegistryConformance):
        @pytest.fixture
        def registry_url(self) -> str:
            return "mine://127.0.0.1:4000"

For assertion messages with values in them, put
``pytest.register_assert_rewrite("seawall.testing.registry")`` into your ``conftest.py``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest

from seawall.call import JSON, Instance
from seawall.events import Event, Listener, MalformedEntry, ignore
from seawall.registry import Registry, open_registry

Instances = tuple[Instance, ...]

LIMIT = 20.0
"""Seconds after which a test gives up waiting for what should happen."""

_OWNER = """
import asyncio, json, sys
from seawall.call import Instance
from seawall.registry import open_registry

async def main(url, instances):
    registry = open_registry(url)
    await registry.register([Instance(**one) for one in instances])
    print("announced", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


async def until(
    lists: AsyncIterator[Instances],
    ids: set[str],
    *,
    passed: list[Instances] | None = None,
) -> Instances:
    """Read a watch until the list holds exactly ``ids``; what came before goes to ``passed``."""
    async with asyncio.timeout(LIMIT):
        async for instances in lists:
            if {one.id for one in instances} == ids:
                return instances
            if passed is not None:
                passed.append(instances)
    raise AssertionError(f"the watch ended before it had shown {ids}")


async def no_more_tasks_than(before: set[asyncio.Task[Any]]) -> None:
    """Wait until every task that was not there before has ended."""
    new = asyncio.all_tasks() - before
    if new:
        _, left = await asyncio.wait(new, timeout=LIMIT)
        assert not left, "these tasks were left behind"


@asynccontextmanager
async def python_process(
    code: str, *arguments: str
) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of its own that runs ``code``, and the first line that it writes.

    Entered when that line is there; killed and waited for at the end.
    """
    process = _start([sys.executable, "-c", code, *arguments])
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT):
            line = await asyncio.to_thread(process.stdout.readline)
        assert line, "the process ended before it had written a line"
        yield process, line.decode().strip()
    finally:
        _end(process)


@asynccontextmanager
async def owner_process(url: str, *instances: Instance) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process of its own that has registered ``instances`` and does nothing more."""
    listed = json.dumps([asdict(instance) for instance in instances])
    async with python_process(_OWNER, url, listed) as (process, _):
        yield process


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


class WatchConformance:
    """What also holds for a registry in which nothing can be announced."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def registry_url(self) -> str:
        """The URL of the registry under test. To be overridden."""
        raise NotImplementedError("override the fixture registry_url")

    @pytest.fixture
    def service(self) -> str:
        """A service name that no other test uses."""
        return f"seawall.conformance.v1.Service{secrets.token_hex(4)}"

    def open(self, url: str, listener: Listener = ignore) -> Registry:
        """Open the registry; override it if ``open_registry`` does not know the scheme."""
        return open_registry(url, listener=listener)

    @asynccontextmanager
    async def pair(
        self, url: str, listener: Listener = ignore
    ) -> AsyncIterator[tuple[Registry, Registry]]:
        """Two registry objects, as two processes have them; ``listener`` is the second's."""
        owner, watcher = self.open(url), self.open(url, listener)
        try:
            yield owner, watcher
        finally:
            async with asyncio.timeout(LIMIT):
                await owner.close()
                await watcher.close()

    async def test_nobody_serves_an_unknown_service(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            assert await until(watcher.lists(service), set()) == ()

    async def test_a_cancelled_watch_leaves_no_task(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            await until(watcher.lists(service), set())  # what is shared by all has been started
            before = asyncio.all_tasks()
            lists = watcher.lists(service)
            await until(lists, set())
            waiting = asyncio.ensure_future(anext(lists))
            await asyncio.sleep(0)
            waiting.cancel()
            await no_more_tasks_than(before)
            assert waiting.cancelled()

    async def test_close_ends_the_watches(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (_, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            waiting = asyncio.ensure_future(anext(lists))
            await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT):
                await watcher.close()
                with pytest.raises(StopAsyncIteration):
                    await waiting

    async def test_close_leaves_no_task(self, registry_url: str, service: str) -> None:
        before = asyncio.all_tasks()
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            lists = watcher.lists(service)
            async with asyncio.timeout(LIMIT):
                await anext(lists)
                await watcher.close()
                await watcher.close()
        await no_more_tasks_than(before)


class RegistryConformance(WatchConformance):
    """The whole contract of ``seawall.registry.Registry``."""

    crash_limit: float | None = None
    """Seconds after which an owner that was killed must be gone for the others; None if owners
    live in this process, so that none of them can be killed."""

    async def spoil(self, url: str, service: str) -> None:
        """Put something that can't be read where instances of ``service`` are.

        Override it if others can write into your registry; otherwise that test is skipped.
        """
        pytest.skip("nobody else writes into this registry")

    async def test_registered_is_seen(self, registry_url: str, service: str) -> None:
        facts: dict[str, JSON] = {
            "version": "1.2",
            "weight": 2.5,
            "labels": {"rack": "é", "ports": [1, 2]},
        }
        instance = Instance(service, "a", "127.0.0.1:1001", facts)
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            await owner.register([instance])
            assert await until(lists, {"a"}) == (instance,)

    async def test_the_owner_sees_himself(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (owner, _):
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            await until(owner.lists(service), {"a"})

    async def test_a_later_watch_has_the_list_at_once(
        self, registry_url: str, service: str
    ) -> None:
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            for _ in range(2):
                async with asyncio.timeout(LIMIT):
                    first = await anext(watcher.lists(service))
                assert [one.id for one in first] == ["a"]

    async def test_several_services_of_one_process(self, registry_url: str, service: str) -> None:
        other = f"{service}Other"
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register(
                [Instance(service, "a", "127.0.0.1:1001"), Instance(other, "a", "127.0.0.1:1001")]
            )
            for name in (service, other):
                (found,) = await until(watcher.lists(name), {"a"})
                assert found.service == name

    async def test_a_list_comes_only_when_it_changed(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            await owner.register([Instance(f"{service}Other", "x", "127.0.0.1:1009")])
            registration = await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            await registration.update([Instance(service, "a", "127.0.0.1:1001")])
            await owner.register([Instance(service, "b", "127.0.0.1:1002")])
            passed: list[Instances] = []
            await until(lists, {"a", "b"}, passed=passed)
            assert len(passed) <= 1, "only the list with 'a' alone may come in between"

    async def test_update_leaves_no_gap(self, registry_url: str, service: str) -> None:
        passed: list[Instances] = []
        async with self.pair(registry_url) as (owner, watcher):
            registration = await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            lists = watcher.lists(service)
            await until(lists, {"a"})
            for port in range(1002, 1022):
                await registration.update([Instance(service, "a", f"127.0.0.1:{port}")])
            await registration.update(
                [Instance(service, "a", "127.0.0.1:1030"), Instance(service, "b", "127.0.0.1:1031")]
            )
            last = await until(lists, {"a", "b"}, passed=passed)
            assert {one.address for one in last} == {"127.0.0.1:1030", "127.0.0.1:1031"}
            await registration.update([Instance(service, "b", "127.0.0.1:1031")])
            await until(lists, {"b"}, passed=passed)
        assert all(passed), "a list was empty in between"

    async def test_goodbye(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (owner, watcher):
            stays = await owner.register([Instance(service, "stays", "127.0.0.1:1001")])
            goes = await owner.register([Instance(service, "goes", "127.0.0.1:1002")])
            lists = watcher.lists(service)
            await until(lists, {"stays", "goes"})
            await goes.close()
            await until(lists, {"stays"})
            await goes.close()
            await stays.close()
            await until(lists, set())

    async def test_close_says_goodbye(self, registry_url: str, service: str) -> None:
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            await owner.register([Instance(service, "b", "127.0.0.1:1002")])
            lists = watcher.lists(service)
            await until(lists, {"a", "b"})
            await owner.close()
            await until(lists, set())

    async def test_many(self, registry_url: str, service: str) -> None:
        ids = {f"i{number:03}" for number in range(200)}
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            await owner.register([Instance(service, one, f"10.0.0.1:1{one[1:]}") for one in ids])
            await until(lists, ids)
            await until(watcher.lists(service), ids)

    async def test_many_registrations_at_the_same_time(
        self, registry_url: str, service: str
    ) -> None:
        ids = {f"i{number:03}" for number in range(20)}
        async with self.pair(registry_url) as (owner, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            registrations = await asyncio.gather(
                *(owner.register([Instance(service, one, "127.0.0.1:1001")]) for one in ids)
            )
            await until(lists, ids)
            await asyncio.gather(*(registration.close() for registration in registrations))
            await until(lists, set())

    async def test_what_cannot_be_read_is_skipped_and_told_once(
        self, registry_url: str, service: str
    ) -> None:
        events: list[Event] = []
        async with self.pair(registry_url, events.append) as (owner, watcher):
            lists = watcher.lists(service)
            await until(lists, set())
            await self.spoil(registry_url, service)
            await owner.register([Instance(service, "a", "127.0.0.1:1001")])
            await until(lists, {"a"})
            await until(watcher.lists(service), {"a"})
        assert len([event for event in events if isinstance(event, MalformedEntry)]) == 1

    async def test_a_killed_owner_is_gone(self, registry_url: str, service: str) -> None:
        if self.crash_limit is None:
            pytest.skip("no owner can be killed apart from this process")
        async with self.pair(registry_url) as (owner, watcher):
            await owner.register([Instance(service, "stays", "127.0.0.1:1001")])
            lists = watcher.lists(service)
            await until(lists, {"stays"})
            async with owner_process(
                registry_url, Instance(service, "dies", "127.0.0.1:1002")
            ) as it:
                await until(lists, {"stays", "dies"})
                it.kill()
                async with asyncio.timeout(self.crash_limit):
                    await until(lists, {"stays"})
