"""Puts entries into etcd, and changes them at a steady rate."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from bench.discovery.entries import instance, stamped, thin_client
from bench.discovery.roles import Action
from seawall.call import Instance
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.etcd.rpc import GRANT, TXN

TTL = 3600
"""Seconds. Its entries' owners are simulated: nobody keeps their lease alive."""
BATCH = 100
_SEED = 1


class Writer:
    """One client of etcd, with one lease, that writes what very many owners would."""

    def __init__(self) -> None:
        self._client: Client
        self._registry: EtcdRegistry
        self._lease = 0
        self._random = random.Random(_SEED)

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"load": self.load, "change": self.change}

    async def open(self, url: str) -> dict[str, Any]:
        self._client, self._registry = thin_client(url), EtcdRegistry(url)
        session = await self._client.session()
        self._lease = (await session.call(GRANT, wire.LeaseGrantRequest(TTL=TTL))).ID
        return {}

    async def load(self, services: Sequence[str], first: int, last: int) -> float:
        """Put instances ``first`` up to ``last`` of each service; the seconds that took."""
        began = time.monotonic()
        wanted = (instance(name, n) for name in services for n in range(first, last))
        while batch := list(islice(wanted, BATCH)):
            await self._put(batch)
        return time.monotonic() - began

    async def change(
        self, services: Sequence[str], count: int, rate: float, seconds: float
    ) -> list[float]:
        """Change facts of one of ``count`` instances of a service, ``rate`` times a second.

        Returns how long etcd took for each. A change waits for the one before it, so that a slow
        etcd is not buried; the next is on time again.
        """
        loop = asyncio.get_running_loop()
        took = []
        began = loop.time()
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            sent = loop.time()
            name = self._random.choice(services)
            await self._put([stamped(name, self._random.randrange(count))])
            took.append(loop.time() - sent)
        return took

    async def aclose(self) -> None:
        await self._registry.close()
        await self._client.close()

    async def _put(self, some: Sequence[Instance]) -> None:
        request = wire.TxnRequest()
        for key, value in self._registry.encoded(some).items():
            put = wire.PutRequest(key=key, value=value, lease=self._lease)
            request.success.add(request_put=put)
        await (await self._client.session()).call(TXN, request)
