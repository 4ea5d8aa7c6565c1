"""The ``client(...)`` declarations of a server's services: their stubs, and who can be called."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from seawall.errors import ServiceError
from seawall.server.readiness.watch import services_of
from seawall.server.service import Service, client
from seawall.transport.aio import Channel
from seawall.transport.discovery import Discovery

_log = logging.getLogger("seawall.server")


@dataclass(frozen=True, slots=True)
class _Declared:
    service: Service
    name: str
    client: client[object]


class Dependencies:
    """What the services of one server call, on its channel."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._declared = [
            _Declared(service, name, value)
            for service in services
            for name, value in inspect.getmembers_static(type(service))
            if isinstance(value, client)
        ]

    async def find(self, channel: Channel, own: Collection[str], limit: float) -> None:
        """Wait until each client has an instance to call; go on without after ``limit`` seconds.

        Two services that need each other would wait for ever otherwise, and a dependency with a
        fallback need not be there. What this process serves ``own`` comes when it is ready.
        """
        for each in self._declared:
            getattr(each.service, each.name)  # makes the stub, which begins the search
        needed = [found for found in channel.discoveries if found.service not in own]
        searches = [asyncio.create_task(discovery.connected()) for discovery in needed]
        try:
            if searches:
                await asyncio.wait(searches, timeout=limit)
        finally:
            for search in searches:
                search.cancel()
        if missing := [found.service for found in needed if not found.group.ready]:
            _log.warning(
                "starting without %s: no instance found within %g s", ", ".join(missing), limit
            )

    def required(self, service: Service, channel: Channel, own: Collection[str]) -> list[Discovery]:
        """Those of the services that ``service`` can't do without. What this process serves
        ``own`` is there whenever it is."""
        names: set[str] = set()
        for each in self._declared:
            if each.service is service and each.client.required:
                called = services_of(each.client.stub, channel)
                if not called:
                    raise ServiceError(
                        f"{type(service).__name__}.{each.name} is required, and its stub asks for "
                        "no method when it is made: so nobody knows which service it calls"
                    )
                names |= called
        return [d for d in channel.discoveries if d.service in names - set(own)]

    def forget(self) -> None:
        """Drop the stubs: their channel is closed."""
        for each in self._declared:
            vars(each.service).pop(each.name, None)
