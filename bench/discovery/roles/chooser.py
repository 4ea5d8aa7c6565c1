"""Clients that use some services of many, in each of the ways to watch them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from bench.discovery.entries import age, thin_client
from bench.discovery.processes import Usage
from bench.discovery.roles import Action
from seawall.call import Instance
from seawall.errors import RegistryUnavailable
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.follow import Found, Happened, Span, follow
from seawall.registry.etcd.naming import decode, end_of, prefix_of
from seawall.registry.etcd.rpc import TXN, WATCH
from seawall.registry.etcd.session import Session
from seawall.registry.etcd.url import DEFAULT_NAMESPACE

LIMIT = 100.0
AT_A_TIME = 10
Changes = AsyncIterator[Found | Happened]


def streams(client: Client, services: Sequence[str]) -> list[Changes]:
    """A stream with one watch for each service, as the registry has it."""
    return [follow(client, [span_of(service)], "") for service in services]


def watches(client: Client, services: Sequence[str]) -> list[Changes]:
    """One stream with a watch for each service."""
    return [follow(client, [span_of(service) for service in services], "")]


def prefix(client: Client, services: Sequence[str]) -> list[Changes]:
    """One stream with one watch over the whole namespace; only the services in use are listed."""
    return [_follow_all(client, [span_of(service) for service in services])]


WAYS: dict[str, Callable[[Client, Sequence[str]], list[Changes]]] = {
    "a stream a service": streams,
    "a stream, a watch a service": watches,
    "a watch over the namespace": prefix,
}


def span_of(service: str) -> Span:
    start = prefix_of(DEFAULT_NAMESPACE, service)
    return Span(start, end_of(start))


async def _follow_all(client: Client, spans: Sequence[Span]) -> Changes:
    """As ``follow``, but what is listed is less than what is watched."""
    while True:
        with suppress(RegistryUnavailable):  # the client paces the next attempt
            session = await client.session()
            listed, revision = await _list(session, spans)
            yield listed
            async with aclosing(_watch_all(session, revision + 1)) as answers:
                async for answer in answers:
                    yield answer


async def _list(session: Session, spans: Sequence[Span]) -> tuple[Found, int]:
    request = wire.TxnRequest()
    for span in spans:
        request.success.add(request_range=wire.RangeRequest(key=span.key, range_end=span.end))
    reply = await session.call(TXN, request)
    kvs = tuple(kv for each in reply.responses for kv in each.response_range.kvs)
    return Found(kvs), reply.header.revision


async def _watch_all(session: Session, revision: int) -> AsyncGenerator[Happened, None]:
    start = f"{DEFAULT_NAMESPACE}/".encode()
    create = wire.WatchCreateRequest(key=start, range_end=end_of(start), start_revision=revision)
    stream = session.stream(WATCH, leader=True)
    try:
        await stream.send(wire.WatchRequest(create_request=create))
        while True:
            yield Happened(tuple((await stream.receive()).events))
    finally:
        stream.close()


class Used:
    """The services that a client uses, and what it knows of their instances."""

    def __init__(self, services: Sequence[str]) -> None:
        self._names = {prefix_of(DEFAULT_NAMESPACE, service): service for service in services}
        self._instances: dict[bytes, Instance] = {}
        self.delays: list[float] = []
        self.delivered = 0
        """Events that came, whether of a service in use or not."""

    def take(self, change: Found | Happened) -> None:
        if isinstance(change, Found):
            for kv in change.kvs:
                self._put(kv)
            return
        for event in change.events:
            self.delivered += 1
            if (known := self._put(event.kv)) is not None:
                self.delays.append(age(known))

    def _put(self, kv: wire.KeyValue) -> Instance | None:
        start = kv.key[: kv.key.rindex(b"/") + 1]
        name = self._names.get(start)
        known = None if name is None else decode(start, kv.key, kv.value, name)
        if known is not None:
            self._instances[kv.key] = known
        return known

    def __len__(self) -> int:
        return len(self._instances)


class Chooser:
    """Very many clients in one process, all of one way."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._used: list[Used] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"begin": self.begin, "so_far": self.so_far}

    async def open(self, url: str) -> dict[str, Any]:
        self._url = url
        return {}

    async def begin(self, way: str, uses: Sequence[Sequence[str]], each: int) -> dict[str, float]:
        """One client for each of ``uses``; returns when all know all ``each`` instances."""
        before, began = Usage.of(), time.monotonic()
        at_a_time = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for services in uses:
                group.create_task(self._begin(WAYS[way], services, each, at_a_time))
        after = Usage.of()
        return {
            "seconds": time.monotonic() - began, "cpu": after.cpu - before.cpu,
            "memory": after.memory - before.memory,
        }  # fmt: skip

    async def so_far(self) -> dict[str, Any]:
        """CPU, events, and the delays since this was asked last."""
        for task in self._tasks:
            if task.done():
                task.result()
        delays = [round(delay, 6) for used in self._used for delay in used.delays]
        for used in self._used:
            used.delays.clear()
        delivered = sum(used.delivered for used in self._used)
        return {"cpu": Usage.of().cpu, "delivered": delivered, "delays": delays}

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()

    async def _begin(
        self,
        way: Callable[[Client, Sequence[str]], list[Changes]],
        services: Sequence[str],
        each: int,
        at_a_time: asyncio.Semaphore,
    ) -> None:
        async with at_a_time:
            client, used, whole = thin_client(self._url), Used(services), asyncio.Event()
            self._clients.append(client)
            self._used.append(used)

            standing = 0

            async def read(changes: Any) -> None:
                nonlocal standing
                async with aclosing(changes):
                    async for change in changes:
                        used.take(change)
                        if change == Happened(()):  # the watch stands
                            standing += 1
                        if standing >= len(tasks) and len(used) == each * len(services):
                            whole.set()

            tasks = [asyncio.create_task(read(changes)) for changes in way(client, services)]
            self._tasks += tasks
            waiting = asyncio.create_task(whole.wait())
            await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in tasks:
                if task.done():
                    task.result()
