"""Watches, each on a connection of its own: the registry's, or a bare one that holds no list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from bench.discovery.entries import age, thin_client
from bench.discovery.processes import Usage
from bench.discovery.roles import Action
from bench.discovery.roles.counter import stand_in_group
from seawall.call import Endpoint, Listing, Update
from seawall.errors import RegistryUnavailable
from seawall.policy.group import Group
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.naming import decode, end_of, prefix_of
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.etcd.rpc import WATCH
from seawall.registry.etcd.session import Session
from seawall.registry.etcd.url import DEFAULT_NAMESPACE

LIMIT = 100.0
AT_A_TIME = 20
"""Watches that are opened at the same time."""


class Watcher:
    """Very many watches in one process."""

    def __init__(self) -> None:
        self._url = ""
        self._delays: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._registries: list[EtcdRegistry] = []
        self._clients: list[Client] = []
        self._group: Group | None = None
        self._known: dict[str, Endpoint] = {}

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"list_once": self.list_once, "watch": self.watch, "delays": self.delays}

    async def open(self, url: str) -> dict[str, Any]:
        self._url = url
        return {}

    async def list_once(self, service: str) -> dict[str, float]:
        """Watch until the first listing: how many there are, and what it took."""
        registry = EtcdRegistry(self._url)
        before, began = Usage.of(), time.monotonic()
        try:
            async with aclosing(registry.watch(service)) as updates:
                listing = await anext(updates)
                took, after = time.monotonic() - began, Usage.of()
                assert isinstance(listing, Listing)
                return {
                    "instances": len(listing.instances), "seconds": took,
                    "cpu": after.cpu - before.cpu, "memory": after.memory - before.memory,
                    "peak": after.peak - before.memory,
                }  # fmt: skip
        finally:
            await registry.close()

    async def watch(self, services: Sequence[str], bare: bool) -> dict[str, float]:
        """Open one watch for each of ``services``; returns when all stand, with what that took."""
        before, began = Usage.of(), time.monotonic()
        at_a_time = asyncio.Semaphore(AT_A_TIME)

        async def begin(service: str) -> None:
            async with at_a_time, asyncio.timeout(LIMIT):
                opened = asyncio.Event()
                follow = self._bare(service, opened) if bare else self._whole(service, opened)
                task = asyncio.create_task(follow)
                self._tasks.append(task)
                waiting = asyncio.create_task(opened.wait())
                await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if task.done():
                    task.result()

        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(begin(service))
        after = Usage.of()
        return {
            "seconds": time.monotonic() - began, "cpu": after.cpu - before.cpu,
            "memory": after.memory - before.memory,
        }  # fmt: skip

    async def delays(self) -> dict[str, Any]:
        """Delays of what has been delivered since this was asked last, and CPU so far."""
        for task in self._tasks:
            if task.done():
                task.result()
        self._check()
        delays, self._delays = self._delays, []
        return {"delays": [round(delay, 6) for delay in delays], "cpu": Usage.of().cpu}

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(registry.close() for registry in self._registries))
        await asyncio.gather(*(client.close() for client in self._clients))

    async def _whole(self, service: str, opened: asyncio.Event) -> None:
        """The registry's own watch. The first of the process also keeps a group up to date."""
        registry = EtcdRegistry(self._url)
        self._registries.append(registry)
        apply = self._begin_group() if self._group is None else None
        async with aclosing(registry.watch(service)) as updates:
            async for update in updates:
                if apply is not None:
                    apply(update)
                if isinstance(update, Listing):
                    opened.set()
                else:
                    self._delays.extend(age(one) for one in update.put)

    def _begin_group(self) -> Callable[[Update], object]:
        self._group = group = stand_in_group()

        def apply(update: Update) -> None:
            group.apply(update)
            if isinstance(update, Listing):
                for number, endpoint in enumerate(group.endpoints):
                    endpoint.outstanding = number
                self._known = {endpoint.address: endpoint for endpoint in group.endpoints}

        return apply

    def _check(self) -> None:
        """Facts change here and nobody comes or goes: all endpoints are as they were."""
        if self._group is not None:
            now = self._group.endpoints
            assert len(now) == len(self._known), "endpoints were lost or left over"
            for number, endpoint in enumerate(now):
                kept = self._known[endpoint.address] is endpoint and endpoint.outstanding == number
                assert kept, f"{endpoint} lost its statistics"

    async def _bare(self, service: str, opened: asyncio.Event) -> None:
        """A watch as etcd sees it, and no list here: ten thousand entries fit once, not often."""
        client = thin_client(self._url)
        self._clients.append(client)
        while True:
            # What is missed meanwhile is counted as missing; the client paces its attempts.
            with suppress(RegistryUnavailable):
                session = await client.session()
                await self._read(session, service, opened)

    async def _read(self, session: Session, service: str, opened: asyncio.Event) -> None:
        prefix = prefix_of(DEFAULT_NAMESPACE, service)
        stream = session.stream(WATCH, leader=True)
        create = wire.WatchCreateRequest(key=prefix, range_end=end_of(prefix))
        try:
            await stream.send(wire.WatchRequest(create_request=create))
            while True:
                answer = await stream.receive()
                if answer.created:
                    opened.set()
                for event in answer.events:
                    put = decode(prefix, event.kv.key, event.kv.value, service)
                    assert put is not None, "an instance said goodbye that nobody has stopped"
                    self._delays.append(age(put))
        finally:
            stream.close()
