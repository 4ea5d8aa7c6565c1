"""``static://``: fixed addresses, for when something else keeps them true (DNS, a mesh, a test)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Final
from urllib.parse import unquote

from seawall.call import Instance, Listing, Update
from seawall.errors import ConfigError, RegistryError
from seawall.events import Listener, ignore
from seawall.registry.addresses import address_problem
from seawall.registry.base import Registration, Registry

_SERVICE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class StaticRegistry(Registry):
    """Instances that are written into the URL and never change.

    ``static://h:p,h:p`` serves every service at these addresses.
    ``static://?shop.v1.Inventory=h:p,h:p&shop.v1.Orders=h:p`` names them by service, and both
    together mean: every service there, but these elsewhere. An address is ``host:port``,
    ``[v6]:port`` or ``unix:path``; a comma, ``?``, ``&`` or ``%`` inside a path is
    percent-encoded. Raises ``ConfigError`` that names the part which is malformed or doubled.

    ``register`` is accepted and does nothing: clients know the address already.
    """

    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self.url = url
        self.listener = listener
        self._anywhere, self._services = _parse(url)
        self._closed = asyncio.Event()

    async def register(self, instances: Sequence[Instance]) -> Registration:
        if self._closed.is_set():
            raise RegistryError(f"{self.url} is closed")
        return _StaticRegistration()

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        if self._closed.is_set():
            return
        addresses = self._services.get(service, self._anywhere)
        yield Listing(tuple(Instance(service, address, address) for address in addresses))
        await self._closed.wait()

    async def close(self) -> None:
        self._closed.set()


class _StaticRegistration(Registration):
    async def update(self, instances: Sequence[Instance]) -> None:
        """Nothing to do: the addresses are in the URL."""

    async def close(self) -> None:
        """Nothing to do: the addresses are in the URL."""


def _parse(url: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    hosts, question, query = url.partition("://")[2].partition("?")
    anywhere = _addresses(url, hosts) if hosts else ()
    services: dict[str, tuple[str, ...]] = {}
    for part in query.split("&") if question else ():
        service, equals, listed = part.partition("=")
        if not equals or not _SERVICE.fullmatch(service):
            raise _error(url, f"{part!r} is not package.Service=host:port,host:port")
        if service in services:
            raise _error(url, f"{service!r} is there twice")
        services[service] = _addresses(url, listed)
    if not anywhere and not services:
        raise _error(url, "names no address; write static://host:port,host:port")
    return anywhere, services


def _addresses(url: str, text: str) -> tuple[str, ...]:
    addresses = [unquote(part) for part in text.split(",")]
    seen: set[str] = set()
    for address in addresses:
        problem = address_problem(address)
        if problem:
            raise _error(url, f"address {address!r} {problem}")
        if address in seen:
            raise _error(url, f"address {address!r} is there twice")
        seen.add(address)
    return tuple(addresses)


def _error(url: str, problem: str) -> ConfigError:
    return ConfigError("registry", f"{url!r}: {problem}")
