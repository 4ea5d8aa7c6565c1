"""What the tests of the suite go through, so that a registry can differ where it must."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from seawall.call import Instance
from seawall.events import Listener, ignore
from seawall.registry import Registration, Registry, open_registry
from seawall.testing.registry.tools import LIMIT, Following, Instances, owner_process


class Harness:
    """The methods to override, and those that the tests use."""

    pytestmark = pytest.mark.asyncio

    crash_limit: float | None = None
    """Seconds after which an owner that was killed must be gone for the others, 40 at most; None if
    owners live in this process, so that none of them can be killed."""

    @pytest.fixture
    def registry_url(self) -> str:
        """The URL of the registry under test. To be overridden."""
        raise NotImplementedError("override the fixture registry_url")

    @pytest.fixture
    def service(self) -> str:
        """A service name that no other test uses."""
        return f"seawall.conformance.v1.Service{secrets.token_hex(4)}"

    def open(self, url: str, listener: Listener = ignore) -> Registry:
        """Open the registry; override it if ``open_registry`` does not know the scheme."""
        return open_registry(url, listener=listener, snapshots=False)

    async def announce(self, owner: Registry, *instances: Instance) -> Registration:
        """Announce ``instances``. If nothing can be announced, ``pytest.skip`` and say why."""
        return await owner.register(instances)

    def listed_as(self, instance: Instance) -> Instance:
        """How it is listed what was announced as ``instance``: as it was, if not overridden."""
        return instance

    @asynccontextmanager
    async def living(self, url: str, *instances: Instance) -> AsyncIterator[Callable[[], None]]:
        """Announce ``instances`` by an owner that can die; gives what kills it."""
        if self.crash_limit is None:
            pytest.skip("no owner can be killed apart from this process")
        async with owner_process(url, *instances) as process:
            yield process.kill

    async def restart(self, url: str) -> None:
        """Stop the registry itself, and start it again."""
        pytest.skip("there is nothing that could be restarted apart from this process")

    async def spoil(self, url: str, service: str) -> None:
        """Put something that can't be read where instances of ``service`` are."""
        pytest.skip("nobody else writes into this registry")

    @asynccontextmanager
    async def pair(
        self, url: str, listener: Listener = ignore
    ) -> AsyncIterator[tuple[Registry, Registry]]:
        """Two registry objects, as two processes have them; ``listener`` is the second's."""
        owner, watcher = self.open(url), self.open(url, listener)
        try:
            yield owner, watcher
        finally:
            async with asyncio.timeout(LIMIT):
                await owner.close()
                await watcher.close()

    def listed(self, *instances: Instance) -> Instances:
        """How they are listed, in order."""
        return tuple(sorted(map(self.listed_as, instances), key=lambda one: one.id))

    async def until(
        self,
        lists: AsyncIterator[Instances],
        *instances: Instance,
        passed: list[Instances] | None = None,
    ) -> None:
        """Read lists until one is exactly ``instances``; what came before goes to ``passed``."""
        wanted, last = self.listed(*instances), None
        try:
            async with asyncio.timeout(LIMIT):
                async for last in lists:
                    if last == wanted:
                        return
                    if passed is not None:
                        passed.append(last)
        except TimeoutError:
            raise AssertionError(f"after {LIMIT:g} s the list is {last}, not {wanted}") from None
        raise AssertionError(f"the watch ended with {last}, before it had shown {wanted}")

    @asynccontextmanager
    async def following(self, registry: Registry, service: str) -> AsyncIterator[Following]:
        """The updates of a watch."""
        updates = registry.watch(service)
        try:
            yield Following(updates)
        finally:
            await updates.aclose()
