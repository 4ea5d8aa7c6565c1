"""The registry in etcd."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

from seawall.call import Instance, Update
from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import Listener, ignore
from seawall.registry.base import Registration, Registry
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.feed import Feed, Feeds
from seawall.registry.etcd.follow import Found, Happened, Span, follow
from seawall.registry.etcd.formats import check_writable
from seawall.registry.etcd.naming import encode
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.tenure import Tenure
from seawall.registry.etcd.url import parse

PATIENCE: Final = 3.0
"""Seconds in which etcd must take a registration before the caller is told that it is away."""
GOODBYE: Final = 1.0
"""Seconds for a goodbye. If etcd doesn't take it by then, the lease's time does."""

GIVE_BACK: Final = 0.5
"""Seconds for revoking the lease after that."""


class EtcdRegistry(Registry):
    """Announces and watches instances in etcd 3.4 or newer.

    ``url`` is ``etcd://[user:password@]h1:2379,h2:2379/namespace?ca=..&cert=..&key=..&ttl=10``;
    see ``seawall.registry.etcd.url``. Raises ``ConfigError`` if it is wrong; nothing is connected
    before it is needed. A URL with ``format=`` reads another framework's entries and announces
    nothing: ``register`` raises ``RegistryError``.

    All registrations of the object hang on one lease with one keep-alive stream, so make one
    object for a process. A process that dies is forgotten ``ttl`` seconds later, and the 3 that
    a vanished key is doubted (``feed.DOUBT``).
    """

    keeps_configs = True

    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self._url = parse(url)
        self.url = str(self._url)
        self.ttl = self._url.ttl
        self.identity = self._url.identity
        self.listener = listener
        self.problem = None
        self._outage = Outage(self)
        self._client = Client(self._url, self._outage)
        self._feeds = Feeds(lambda name: Feed(self._client, self._outage, self._url, name))
        self._tenure: Tenure | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        """Goodbyes that are being said."""
        self._closing: asyncio.Task[None] | None = None

    async def register(self, instances: Sequence[Instance]) -> Registration:
        check_writable(self._url)
        values = self.encoded(instances)
        registration = _EtcdRegistration(self)
        try:
            await self.announce(registration, values)
        except BaseException:
            await registration.close()
            raise
        return registration

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        async with aclosing(self._feeds.updates(service)) as updates:
            async for update in updates:
                yield update

    async def configs(self, service: str) -> AsyncGenerator[str | None, None]:
        """The value of ``<namespace>/.config/<service>``: no service has such a name, so nobody
        takes it for an instance."""
        span = Span(f"{self._url.namespace}/.config/{service}".encode())
        async with aclosing(follow(self._client, (span,), self._url.user)) as changes:
            async for change in changes:
                if isinstance(change, Found):
                    yield change.kvs[0].value.decode(errors="replace") if change.kvs else None
                for event in change.events if isinstance(change, Happened) else ():
                    put = event.type == wire.Event.PUT
                    yield event.kv.value.decode(errors="replace") if put else None

    async def close(self) -> None:
        """Say goodbye for all registrations and let go of etcd; 1.5 s at most.

        Cancelled, it goes on by itself; called again, it waits for the same end.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="seawall etcd close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await asyncio.gather(self.withdraw(None), *self._leaving)
        finally:
            await self._feeds.close()
            await self._client.close()

    def advertised_host(self) -> str | None:
        """The local address of a UDP socket that is bound for etcd; no packet is sent."""
        host, _, port = self._url.endpoints[0].rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
        except OSError:
            return None

    def holds_lease(self) -> bool | None:
        tenure = self._tenure
        return None if tenure is None or tenure.empty else tenure.held

    def encoded(self, instances: Sequence[Instance]) -> dict[bytes, bytes]:
        return dict(encode(self._url.namespace, instance) for instance in instances)

    async def announce(self, owner: Registration, values: Mapping[bytes, bytes]) -> None:
        """Have etcd hold exactly ``values`` for ``owner``; returns when it does."""
        if self._closing is not None:
            raise RegistryError(f"{self.url} is closed")
        if self._tenure is None:
            self._tenure = Tenure(self._client, self._outage, self._url)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._tenure.want(owner, values)
        except TimeoutError:
            too_slow = f"etcd at {self._url.hosts} is too slow"
            problem = self.problem or self._tenure.problem or too_slow
            raise RegistryUnavailable(f"not registered within {PATIENCE:g} s: {problem}") from None

    def withdraw(self, owner: Registration | None) -> asyncio.Task[None]:
        """Remove what ``owner`` has announced (None = everybody), and the lease after the last.

        A task, so that whoever waits for it may give up: the goodbye is said all the same.
        """
        leaving = asyncio.create_task(self._withdraw(owner), name="seawall etcd goodbye")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving

    async def _withdraw(self, owner: Registration | None) -> None:
        tenure = self._tenure
        if tenure is None:
            return
        settled = tenure.drop(owner)
        last = tenure.empty
        if last:
            self._tenure = None  # who registers now gets a lease of its own
        try:
            with suppress(TimeoutError, RegistryError):
                async with asyncio.timeout(GOODBYE):
                    await settled
            if last:
                # It takes the keys along, should the goodbye not have been taken.
                with suppress(TimeoutError, RegistryError):
                    async with asyncio.timeout(GIVE_BACK):
                        await tenure.give_back()
        finally:
            if last:
                await tenure.stop()


class _EtcdRegistration(Registration):
    def __init__(self, registry: EtcdRegistry) -> None:
        self._registry = registry
        self._goodbye: asyncio.Task[None] | None = None

    async def update(self, instances: Sequence[Instance]) -> None:
        """Replace what is announced. If etcd is away, ``RegistryUnavailable`` says so after 3 s;
        the change is made as soon as it is back."""
        if self._goodbye is not None:
            raise RegistryError("this registration is closed")
        await self._registry.announce(self, self._registry.encoded(instances))

    async def close(self) -> None:
        if self._goodbye is None:
            self._goodbye = self._registry.withdraw(self)
        await asyncio.shield(self._goodbye)
