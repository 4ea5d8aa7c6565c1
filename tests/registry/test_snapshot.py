"""A registry that remembers: what a process is given that starts while the registry is away."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from seawall.call import Change, Listing
from seawall.errors import RegistryError
from seawall.events import Listener, SnapshotRefused, SnapshotUsed, ignore
from seawall.registry import Registry
from seawall.registry.memory import MemoryRegistry
from seawall.registry.snapshots import Remembering
from seawall.testing.registry import RegistryConformance
from tests.registry.snapshot_fixtures import (
    LIMIT,
    ONE,
    SERVICE,
    TWO,
    Setting,
    eventually,
    reading,
    setting,
)

__all__ = ["setting"]


class TestConformance(RegistryConformance):
    """Whoever wraps a registry in it gets the same registry."""

    @pytest.fixture
    def registry_url(self, tmp_path: Path) -> str:
        self.directory = tmp_path / "snapshots"
        return f"memory://{tmp_path.name}"

    def open(self, url: str, listener: Listener = ignore) -> Registry:
        inner = MemoryRegistry(url, listener)
        inner.identity = url
        return Remembering(inner, self.directory)


async def first(registry: Registry) -> object:
    """The first update of a watch that is ended right after it."""
    async with asyncio.timeout(LIMIT), contextlib.aclosing(registry.watch(SERVICE)) as updates:
        return await anext(updates)


async def test_what_one_process_saw_is_given_to_the_next_in_an_outage(setting: Setting) -> None:
    await setting.gated.register([ONE, TWO])
    assert await first(setting.open()) == Listing((ONE, TWO))
    setting.gated.here.clear()
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        async with asyncio.timeout(LIMIT):
            assert await anext(updates) == Listing((ONE, TWO))
            (used,) = setting.events
            assert isinstance(used, SnapshotUsed)
            assert (used.registry, used.service) == (setting.gated.url, SERVICE)
            assert used.instances == 2
            assert 0 <= used.age < LIMIT
            setting.gated.here.set()
            assert await anext(updates) == Listing((ONE, TWO))


async def test_a_registry_that_answers_is_believed_at_once(setting: Setting) -> None:
    setting.put(ONE)
    await setting.gated.register([TWO])
    assert await first(setting.open()) == Listing((TWO,))
    assert setting.events == []


async def test_the_true_list_replaces_the_last_good_one_even_if_it_is_empty(
    setting: Setting,
) -> None:
    """But how the others have gone nobody knows: whoever has connections may ask them."""
    setting.put(ONE)
    setting.gated.here.clear()
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        async with asyncio.timeout(LIMIT):
            assert await anext(updates) == Listing((ONE,))
            setting.gated.here.set()
            assert await anext(updates) == Change(lost=frozenset({ONE.id}))
    assert setting.ids() == {ONE.id}, "the registry may have lost its data"


async def test_a_list_that_is_much_shorter_may_be_all_that_is_left(setting: Setting) -> None:
    setting.put(*(replace(ONE, id=f"i{number}") for number in range(5)))
    setting.gated.here.clear()
    await setting.gated.register([replace(ONE, id="i0"), TWO])
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        async with asyncio.timeout(LIMIT):
            await anext(updates)
            setting.gated.here.set()
            change = await anext(updates)
    assert isinstance(change, Change)
    assert {one.id for one in change.put} == {"i0", TWO.id}
    assert change.lost == {"i1", "i2", "i3", "i4"} and not change.left


async def test_without_a_snapshot_the_true_list_is_waited_for(setting: Setting) -> None:
    setting.gated.here.clear()
    await setting.gated.register([ONE])
    waiting = asyncio.create_task(first(setting.open()))
    done, _ = await asyncio.wait([waiting], timeout=0.5)  # longer than the registry's patience
    assert not done
    setting.gated.here.set()
    async with asyncio.timeout(LIMIT):
        assert await waiting == Listing((ONE,))
    assert setting.events == []


async def test_a_snapshot_that_is_used_is_not_renewed(setting: Setting) -> None:
    setting.put(ONE, age=3600)
    before = setting.path.read_bytes()
    setting.gated.here.clear()
    assert await first(setting.open()) == Listing((ONE,))
    assert setting.path.read_bytes() == before


async def test_each_use_is_told_once_in_an_outage(setting: Setting) -> None:
    setting.put(ONE)
    setting.gated.here.clear()
    registry = setting.open()
    for _ in range(2):
        await first(registry)
    setting.gated.here.set()
    await first(registry)
    setting.put(ONE)
    setting.gated.here.clear()
    await first(registry)
    assert [type(event) for event in setting.events] == [SnapshotUsed] * 2


@pytest.mark.parametrize("used", [False, True])
async def test_a_refusal_is_raised_as_ever(setting: Setting, used: bool) -> None:
    setting.put(ONE)
    setting.gated.refusal = RegistryError("wrong password")
    if used:
        setting.gated.here.clear()
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        async with asyncio.timeout(LIMIT):
            if used:
                assert await anext(updates) == Listing((ONE,))
                setting.gated.here.set()
            with pytest.raises(RegistryError, match="wrong password"):
                await anext(updates)
    assert setting.ids() == {"one"}


async def test_a_stopped_service_is_not_resurrected(setting: Setting) -> None:
    registration = await setting.gated.register([ONE])
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        async with asyncio.timeout(LIMIT):
            await anext(updates)
            waiting = asyncio.create_task(anext(updates))
            await eventually(lambda: setting.ids() == {"one"})
            await registration.close()
            await waiting
    assert not setting.path.exists()


async def test_a_directory_that_others_can_write_to_is_not_used(setting: Setting) -> None:
    setting.put(ONE)
    before = setting.path.read_bytes()
    setting.directory.chmod(0o777)
    setting.gated.here.clear()
    with reading(setting.open()):
        await eventually(lambda: bool(setting.events))
    setting.gated.here.set()
    await setting.gated.register([TWO])
    assert await first(setting.open()) == Listing((TWO,))
    assert setting.path.read_bytes() == before
    refused = setting.events[0]
    assert isinstance(refused, SnapshotRefused)
    assert refused.path == str(setting.directory)
    assert f"chmod 700 {setting.directory}" in refused.problem
    assert "SEAWALL_SNAPSHOTS=/path/of/yours" in refused.problem
