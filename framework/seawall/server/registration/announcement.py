"""What a process announces: an instance of each of its services, with facts that may change."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping

from seawall.call import JSON, Instance
from seawall.errors import ConfigError, RegistryError
from seawall.registry.base import Registration, Registry


class Announcement:
    """The instances of one process, from before they are announced until they say goodbye."""

    def __init__(
        self, services: Iterable[str], identity: str, address: str, facts: Mapping[str, JSON]
    ) -> None:
        self._identity = identity
        self.address = address
        """Where its instances are."""
        self._facts: dict[str, dict[str, JSON]] = {name: dict(facts) for name in services}
        self._registration: Registration | None = None

    @property
    def made(self) -> bool:
        """Whether the registry has had it."""
        return self._registration is not None

    @property
    def instances(self) -> list[Instance]:
        """As they are announced."""
        return [
            Instance(name, self._identity, self.address, dict(facts))
            for name, facts in self._facts.items()
        ]

    async def make(self, registry: Registry) -> None:
        """Announce; given up half-way, what was announced meanwhile is taken back."""
        announced = self.instances
        registering = asyncio.ensure_future(registry.register(announced))
        try:
            self._registration = await asyncio.shield(registering)
            if self.instances != announced:  # they were changed meanwhile
                await self._registration.update(self.instances)
        except asyncio.CancelledError:
            registering.cancel()
            with contextlib.suppress(asyncio.CancelledError, RegistryError):
                await (await registering).close()
            raise

    async def change(self, services: Iterable[str], facts: Mapping[str, JSON]) -> None:
        """Announce other facts of these services, a fact that is None no longer.

        Returns when the registry has them. Raises ``ConfigError`` for what can't be written as
        JSON, and what the registry's ``update`` raises: then they stand all the same.
        """
        try:
            json.dumps(dict(facts), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError("labels", f"can't be written as JSON ({error})") from None
        for name in services:
            merged = {**self._facts[name], **facts}
            self._facts[name] = {key: fact for key, fact in merged.items() if fact is not None}
        if self._registration is not None:
            await self._registration.update(self.instances)

    async def move(self, address: str) -> None:
        """Announce another address; as ``change``."""
        self.address = address
        if self._registration is not None:
            await self._registration.update(self.instances)

    async def withdraw(self) -> None:
        """Say goodbye."""
        if self._registration is not None:
            await self._registration.close()
