"""Instances of an echo service, each with a registry object of its own, in one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from bench.discovery.roles import Action
from bench.echo import EchoServicer
from seawall import Service
from seawall.call import Instance
from seawall.events import ignore
from seawall.registry.base import Registration
from seawall.registry.etcd.registry import EtcdRegistry

LIMIT = 20.0
"""Seconds in which a new instance must have had its calls."""
SETTLED = 10
"""Calls after which a new instance is one like the others."""


class StampedRegistry(EtcdRegistry):
    """Remembers when it was asked to register and to say goodbye, and when it had."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.times: dict[str, float] = {}

    async def register(self, instances: Sequence[Instance]) -> Registration:
        self.times["register"] = time.monotonic()
        registration = await super().register(instances)
        self.times["registered"] = time.monotonic()
        return StampedRegistration(registration, self.times)


class StampedRegistration(Registration):
    def __init__(self, inner: Registration, times: dict[str, float]) -> None:
        self._inner = inner
        self._times = times

    async def update(self, instances: Sequence[Instance]) -> None:
        await self._inner.update(instances)

    async def close(self) -> None:
        self._times.setdefault("close", time.monotonic())
        await self._inner.close()
        self._times.setdefault("closed", time.monotonic())


class Served(Service, EchoServicer):
    """Remembers when its first and its last call came."""

    first: float = 0.0
    last: float = 0.0
    calls: int = 0

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        self.last = time.monotonic()
        self.calls += 1
        if self.calls == 1:
            self.first = self.last
        if self.calls == SETTLED:
            self.settled.set()
        return request

    async def on_start(self) -> None:
        self.settled = asyncio.Event()


class Host:
    """Instances that are started and stopped when told."""

    def __init__(self) -> None:
        self._url = ""
        self._running: dict[int, tuple[Served, StampedRegistry]] = {}
        self._number = 0

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"arrive": self.arrive, "leave": self.leave, "address": self.address}

    async def open(self, url: str, count: int = 0) -> dict[str, Any]:
        """Begin with ``count`` instances."""
        self._url = url
        return {"addresses": [await self._start() for _ in range(count)]}

    async def arrive(self) -> dict[str, float]:
        """Start one more; when it registered, and when its first call came.

        Returns when it has had so many calls that it is one like the others.
        """
        await self._start()
        service, registry = self._running[self._number]
        async with asyncio.timeout(LIMIT):
            await service.settled.wait()
        return {**registry.times, "first": service.first}

    async def leave(self) -> dict[str, float]:
        """Stop the one that came last; when its goodbye began, and when its last call came."""
        service, registry = self._running.pop(self._number)
        stop = time.monotonic()
        await service.stop()
        await registry.close()
        return {**registry.times, "stop": stop, "last": service.last}

    async def address(self) -> str:
        """Where the one that came last is."""
        return self._running[self._number][0].address

    async def aclose(self) -> None:
        for service, registry in self._running.values():
            await service.stop()
            await registry.close()

    async def _start(self) -> str:
        self._number += 1
        registry = StampedRegistry(self._url)
        service = Served(registry=registry, listener=ignore)
        self._running[self._number] = service, registry
        await service.start()
        return service.address
