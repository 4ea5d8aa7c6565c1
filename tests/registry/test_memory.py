"""What is particular to ``memory://``."""

from __future__ import annotations

import asyncio

import pytest

from seawall.call import Instance
from seawall.errors import RegistryError
from seawall.registry import open_registry
from seawall.testing.registry import until

SERVICE = "x.Y"


async def test_names_keep_apart() -> None:
    one, other = open_registry("memory://one"), open_registry("memory://other")
    await one.register([Instance(SERVICE, "a", "a:1")])
    await until(one.lists(SERVICE), {"a"})
    await until(other.lists(SERVICE), set())


def test_another_running_loop_is_refused() -> None:
    registry = open_registry("memory://loops")

    async def register() -> None:
        await registry.register([Instance(SERVICE, "a", "a:1")])

    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(register())
        with pytest.raises(RegistryError, match="another event loop"):
            asyncio.run(register())
    finally:
        first.close()


def test_what_a_closed_loop_left_behind_is_gone() -> None:
    async def leave() -> object:
        registry = open_registry("memory://left")
        await registry.register([Instance(SERVICE, "a", "a:1")])
        return registry

    async def find() -> None:
        await until(open_registry("memory://left").lists(SERVICE), set())

    left = asyncio.run(leave())
    asyncio.run(find())
    assert left is not None


async def test_closed() -> None:
    registry = open_registry("memory://closed")
    registration = await registry.register([Instance(SERVICE, "a", "a:1")])
    await registry.close()
    with pytest.raises(RegistryError, match="closed"):
        await registry.register([])
    with pytest.raises(RegistryError, match="closed"):
        await registration.update([])
    assert [one async for one in registry.lists(SERVICE)] == []
