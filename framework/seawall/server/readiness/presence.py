"""How what a server serves is seen from outside: by its health, and in the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from seawall.call import JSON
from seawall.events import Listener
from seawall.server.health.servicer import Health
from seawall.server.readiness.dependencies import Dependencies
from seawall.server.readiness.standing import Standing
from seawall.server.readiness.watch import ReadyWatch
from seawall.server.registration.announcement import Announcement
from seawall.server.service import Service
from seawall.transport.aio import Channel


class Presence:
    """Says of each service of a server whether it takes calls, the same in both places."""

    def __init__(
        self,
        served: Mapping[Service, Sequence[str]],
        health: Health,
        announcement: Announcement,
        listener: Listener,
    ) -> None:
        self._served = served
        self._health = health
        self._announcement = announcement
        self._listener = listener
        self._changing = asyncio.Lock()
        self._standings = {service: Standing() for service in served}
        self._watches: list[ReadyWatch] = []

    async def change(self, service: Service, facts: Mapping[str, JSON]) -> None:
        """Announce other facts of what ``service`` serves."""
        async with self._changing:
            await self._announcement.change(self._served[service], facts)

    async def pause(self, service: Service, *, paused: bool) -> None:
        """Have ``service`` take no calls until its user lets it again."""
        await self._stand(service, lambda now: now.changed(paused=paused))

    def ready(self, service: Service) -> bool:
        """Whether what it requires is there, and its own check says yes."""
        return self._standings[service].ready

    async def begin(self, dependencies: Dependencies, channel: Channel) -> None:
        """See who is ready, before anybody knows of them."""
        own = [name for names in self._served.values() for name in names]
        for service, names in self._served.items():
            own_check = type(service).is_ready is not Service.is_ready
            required = dependencies.required(service, channel, own)
            if not required and not own_check:
                continue
            watch = ReadyWatch(
                ", ".join(names),
                names,
                required,
                service.is_ready if own_check else None,
                partial(self._stand, service),
                self._listener,
            )
            self._watches.append(watch)
            await watch.begin()

    def follow(self) -> None:
        """Have it follow who is ready, until ``close``."""
        for watch in self._watches:
            watch.start()

    async def close(self) -> None:
        """Leave all as it is: what goes away from now on is no news."""
        await asyncio.gather(*(watch.close() for watch in self._watches))

    async def _stand(self, service: Service, change: Callable[[Standing], Standing]) -> None:
        names = self._served[service]
        async with self._changing:  # health and registry must not disagree in the end
            before = self._standings[service]
            now = self._standings[service] = change(before)
            if now.away != before.away:
                await self._health.stand_aside(names, away=now.away)
            if now.facts != before.facts:
                await self._announcement.change(names, now.facts)
