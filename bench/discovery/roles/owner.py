"""Registry objects that register an instance and watch a service, as a service's process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from bench.discovery.entries import instance, service
from bench.discovery.processes import Usage
from bench.discovery.roles import Action
from seawall.events import Event, RegistrationRestored, RegistryLost, RegistryRegained
from seawall.registry.base import Registration
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.roster import Roster

LIMIT = 100.0
AT_A_TIME = 20
SERVICES = 100
"""Services that the owners share; each watches one of them."""


class Process:
    """What one service's process has to do with the registry."""

    def __init__(self, url: str, number: int) -> None:
        self.regained: list[float] = []
        self.restored: list[float] = []
        self._lost = False
        self._registry = EtcdRegistry(url, self._heard)
        self._number = number
        self._registration: Registration | None = None
        self._roster = Roster()
        self._watching: asyncio.Task[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is registered and watches, as far as it knows."""
        return not self._lost and self._registry.problem is None and self.listed > 0

    @property
    def problem(self) -> str | None:
        """What is wrong, in the registry's words."""
        return self._registry.problem

    @property
    def listed(self) -> int:
        return len(self._roster.instances)

    async def open(self) -> None:
        mine = instance(service(self._number % SERVICES), self._number)
        self._registration = await self._registry.register([mine])
        listed = asyncio.Event()
        self._watching = asyncio.create_task(self._watch(mine.service, listed))
        await listed.wait()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        await self._registry.close()

    async def _watch(self, name: str, listed: asyncio.Event) -> None:
        async with aclosing(self._registry.watch(name)) as updates:
            async for update in updates:
                self._roster.apply(update)
                listed.set()

    def _heard(self, event: Event) -> None:
        match event:
            case RegistryLost():
                self._lost = True
            case RegistryRegained():
                self._lost = False
                self.regained.append(time.monotonic())
            case RegistrationRestored():
                self.restored.append(time.monotonic())


class Owner:
    """Very many of them in one process of the machine."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"begin": self.begin, "so_far": self.so_far}

    async def open(self, url: str) -> dict[str, Any]:
        self._url = url
        return {}

    async def begin(self, first: int, count: int) -> dict[str, float]:
        """Register and watch ``count`` times; returns when all have and do."""
        before, began = Usage.of(), time.monotonic()
        at_a_time = asyncio.Semaphore(AT_A_TIME)

        async def one(process: Process) -> None:
            async with at_a_time, asyncio.timeout(LIMIT):
                await process.open()

        self._processes = [Process(self._url, first + number) for number in range(count)]
        async with asyncio.TaskGroup() as group:
            for process in self._processes:
                group.create_task(one(process))
        after = Usage.of()
        return {
            "seconds": time.monotonic() - began, "cpu": after.cpu - before.cpu,
            "memory": after.memory - before.memory,
        }  # fmt: skip

    async def so_far(self) -> dict[str, Any]:
        """How many are whole, when they came back, the instances that all list, and CPU."""
        return {
            "whole": sum(process.whole for process in self._processes),
            "regained": [at for process in self._processes for at in process.regained],
            "restored": [at for process in self._processes for at in process.restored],
            "listed": sum(process.listed for process in self._processes),
            "problems": [process.problem for process in self._processes if process.problem],
            "cpu": Usage.of().cpu,
        }

    async def aclose(self) -> None:
        await asyncio.gather(*(process.close() for process in self._processes))
