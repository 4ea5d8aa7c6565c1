"""From the registry's lists to connected endpoints, for one service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import grpc

from seawall.call import Endpoint, Instance, Listing, Update
from seawall.config import ServiceConfig
from seawall.errors import RegistryError
from seawall.events import (
    EndpointConnected,
    EndpointLost,
    FactsChanged,
    InstancesChanged,
    Listener,
    MalformedEntry,
)
from seawall.pipeline import Make, Pipeline
from seawall.policy.group import Turnover
from seawall.policy.waiting import Waiting
from seawall.registry.base import Registry
from seawall.transport.connection import RETIRE_GRACE, Connection
from seawall.transport.doubt import Doubt

_log = logging.getLogger("seawall.transport")

RETRY_WATCH = 5.0
"""Seconds until a watch that the registry refused is asked for again."""


class Discovery:
    """Watches one service and keeps a connection to each of its instances."""

    def __init__(
        self,
        registry: Registry,
        new_pipeline: Callable[[Make], Pipeline],
        listener: Listener,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.pipeline = new_pipeline(self._connect)
        self.service = self.pipeline.service
        self.group = self.pipeline.group
        self._registry = registry
        self._listener = listener
        self._credentials = credentials
        self._task: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self.group.ask = lambda: registry.problem
        self.waiting = Waiting()
        """Who wants to know of the next change of what is known or connected."""
        self._doubt = Doubt(self.group, registry.ttl, self._apply, listener)

    def start(self) -> None:
        """Begin to watch, once."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name=f"discovery of {self.service}")

    async def change(self) -> None:
        """Return at the next change of what is known or connected."""
        changed = asyncio.Event()
        self.waiting.wait(changed, changed.set)
        try:
            await changed.wait()
        finally:
            self.waiting.unwait(changed)

    async def connected(self) -> None:
        """Return when an instance is connected."""
        while not self.group.ready:
            await self.change()

    async def close(self) -> None:
        """Stop watching and close all connections, cancelling what is under way on them."""
        tasks = [*self._retiring, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._doubt.close(), return_exceptions=True)
        closings = (endpoint.transport.close() for endpoint in self.group.endpoints)
        await asyncio.gather(*closings, return_exceptions=True)
        self.group.apply(Listing(()))
        self.waiting.wake()

    async def _watch(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._registry.watch(self.service)) as updates:
                    async for update in updates:
                        self.group.problem = None
                        self._apply(self._doubt.examine(update))
                return  # it ends when the registry is closed
            except RegistryError as error:
                self.group.problem = str(error)
            except Exception as error:  # a registry of the user's own, or a mistake in ours
                _log.exception("the watch of %s failed; it is tried again", self.service)
                self.group.problem = f"its watch failed: {error!r}"
            self.waiting.wake()
            await asyncio.sleep(RETRY_WATCH)

    def _apply(self, update: Update) -> None:
        first = not self.group.resolved
        self._took(self.group.apply(update))
        if first:
            self.waiting.wake()

    def reconfigure(self, config: ServiceConfig) -> None:
        """Put another config in force, for the calls that are started from now on."""
        self._took(self.pipeline.reconfigure(config))

    def _took(self, turnover: Turnover) -> None:
        """Connect to who has come into use, and leave who has gone out of it."""
        for endpoint in turnover.added:
            endpoint.transport.start()
        for endpoint in turnover.removed:
            self._retire(endpoint)
        added, removed, changed = (
            tuple(endpoint.address for endpoint in endpoints)
            for endpoints in (turnover.added, turnover.removed, turnover.changed)
        )
        if added or removed:
            self._listener(InstancesChanged(self.service, added, removed, len(self.group)))
        if changed:
            self._listener(FactsChanged(self.service, changed))
        if turnover:
            self.waiting.wake()

    def _retire(self, endpoint: Endpoint) -> None:
        task = asyncio.create_task(endpoint.transport.close(RETIRE_GRACE))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _connect(self, instance: Instance) -> Endpoint | None:
        endpoint = self.pipeline.endpoint(instance)

        def on_state(ready: bool, problem: str | None) -> None:
            self._on_state(endpoint, ready, problem)

        try:
            endpoint.transport = self._dial(instance, on_state)
        except Exception as error:  # an address that gRPC takes offence at, or facts that do
            problem = f"{instance.address!r} can't be dialled: {error!r}"
            key = f"{self.service}/{instance.id}"
            self._listener(MalformedEntry(self._registry.url, key, problem))
            return None
        return endpoint

    def _dial(self, instance: Instance, on_state: Callable[[bool, str | None], None]) -> Connection:
        return Connection(instance, on_state, self._credentials)

    def _on_state(self, endpoint: Endpoint, ready: bool, problem: str | None) -> None:
        newly_settled = problem is not None and not endpoint.settled
        if problem is not None:
            endpoint.settled, endpoint.problem = True, problem
        changed = self.group.set_ready(endpoint, ready)
        if changed:
            kind = EndpointConnected if ready else EndpointLost
            self._listener(kind(self.service, endpoint.address))
        if not endpoint.ready and (changed or newly_settled):
            self._took(self.group.compensate())
        if changed or newly_settled:
            self.waiting.wake()
