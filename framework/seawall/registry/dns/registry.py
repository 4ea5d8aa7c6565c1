"""``DnsRegistry``: what the DNS lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from seawall.call import WEIGHT, Instance, Listing, Update
from seawall.errors import RegistryError
from seawall.events import Listener, MalformedEntry, ignore
from seawall.registry.base import Registration, Registry
from seawall.registry.dns.follow import Follower
from seawall.registry.dns.health import Health
from seawall.registry.dns.inquiry import Inquiry
from seawall.registry.dns.lookup import Resolver
from seawall.registry.dns.url import Place, join, parse


class DnsRegistry(Registry):
    """Instances that something else keeps in the DNS: Kubernetes, Consul, a zone by hand.

    ``dns://name:port`` serves every service at the A and AAAA records of the name;
    ``dns://name`` at the SRV records of ``_grpc._tcp.name``, whose weights become the fact
    ``weight``. ``dns://?shop.v1.Inventory=name:port&shop.v1.Orders=name`` names them by service;
    several names are separated by commas. Options: ``resolver=ip:port`` (default: the system's
    servers, with its search list and ``/etc/hosts``), ``min_ttl`` (default 5) and ``max_ttl``
    (60), the bounds in seconds of the time between two look-ups of a name.

    An instance's id is its address. ``register`` is accepted and does nothing. Raises
    ``ConfigError`` that names the part which is wrong.
    """

    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self.url = url
        self.listener = listener
        self.problem = None
        self._url = parse(url)
        self.ttl = self._url.max_ttl
        self.identity = self._url.identity
        self._health = Health(self)
        self._followers = self._follow()
        self._watches: set[asyncio.Event] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def register(self, instances: Sequence[Instance]) -> Registration:
        if self._closed:
            raise RegistryError(f"{self.url} is closed")
        return _DnsRegistration()

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        places = self._url.places(service)
        wake = asyncio.Event()
        self._join(places, wake)
        told: tuple[Instance, ...] | None = None
        try:
            while not self._closed:
                wake.clear()
                now = self._instances(service, places)
                if now is None or now == told:
                    await wake.wait()
                else:
                    told = now
                    yield Listing(now)
        finally:
            await self._leave(places, wake)

    async def close(self) -> None:
        self._closed = True
        for wake in tuple(self._watches):
            self._stop(self._url.all_places, wake)
            wake.set()
        await self._stopped()

    def _join(self, places: Sequence[Place], wake: asyncio.Event) -> None:
        if not self._closed:
            self._watches.add(wake)
            for place in places:
                self._followers[place].join(wake)

    async def _leave(self, places: Sequence[Place], wake: asyncio.Event) -> None:
        self._watches.discard(wake)
        self._stop(places, wake)
        await self._stopped()

    def _stop(self, places: Sequence[Place], wake: asyncio.Event) -> None:
        for place in places:
            task = self._followers[place].leave(wake)
            if task is not None:
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def _stopped(self) -> None:
        if self._stopping:
            await asyncio.wait(tuple(self._stopping))

    def _instances(self, service: str, places: Sequence[Place]) -> tuple[Instance, ...] | None:
        """Who serves it, in the order of their ids; None = not known yet."""
        followers = [self._followers[place] for place in places]
        if not all(follower.settled for follower in followers):
            return None
        by_address: dict[str, Instance] = {}
        for place, follower in zip(places, followers, strict=True):
            for host, port, weight in follower.known or ():
                address = join(host, port or place.port or 0)
                facts = {} if weight is None else {WEIGHT: weight}
                by_address.setdefault(address, Instance(service, address, address, facts))
        if not by_address and any(follower.known is None for follower in followers):
            return None
        return tuple(by_address[address] for address in sorted(by_address))

    def _follow(self) -> dict[Place, Follower]:
        """Who follows each place of the URL: one for each name, whatever the ports."""
        resolver = Resolver(self._url.resolvers)
        ttls = self._url.min_ttl, self._url.max_ttl
        by_name: dict[tuple[str, bool], Follower] = {}
        for place in self._url.all_places:
            key = place.name, place.port is None
            if key not in by_name:
                inquiry = Inquiry(*key, resolver)
                by_name[key] = Follower(place.name, inquiry, self._health, ttls, self._malformed)
        return {place: by_name[place.name, place.port is None] for place in self._url.all_places}

    def _malformed(self, name: str, problem: str) -> None:
        self._health.tell(MalformedEntry(self.url, name, problem))


class _DnsRegistration(Registration):
    async def update(self, instances: Sequence[Instance]) -> None:
        """Nothing to do: somebody else announces in the DNS."""

    async def close(self) -> None:
        """Nothing to do: somebody else announces in the DNS."""
