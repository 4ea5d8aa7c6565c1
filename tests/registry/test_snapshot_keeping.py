"""A registry that remembers: when lists are written, and when that fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from seawall.events import SnapshotFailed
from seawall.registry.snapshots import files, keeper
from seawall.registry.snapshots.keeper import Keeper
from seawall.registry.snapshots.store import Store
from tests.registry.snapshot_fixtures import (
    ONE,
    SERVICE,
    TWO,
    Setting,
    count,
    eventually,
    reading,
    setting,
)

__all__ = ["count", "setting"]

Count = Callable[[object, str], list[object]]


async def test_many_changes_are_few_writes_and_the_last_is_never_missing(
    setting: Setting,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "PAUSE", 0.2)
    writes = count(files, "write")
    registration = await setting.gated.register([ONE])
    with reading(setting.open()), reading(setting.opened[0]):
        await eventually(lambda: setting.ids() == {"one"})
        for number in range(200):
            await registration.update([ONE] if number % 2 else [ONE, TWO])
            await asyncio.sleep(0)
        await registration.update([TWO])
        await eventually(lambda: setting.ids() == {"two"})
    assert len(writes) <= 4


@pytest.mark.parametrize(
    ("pause", "again", "spent"),
    [(0.3, 0.0, 0.0), (0.0, 0.0, 0.3 * keeper.SHARE), (0.0, 0.3, None)],
    ids=["small", "large", "failed"],
)
async def test_between_two_writes_is_a_pause(
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
    pause: float,
    again: float,
    spent: float | None,
) -> None:
    times: list[float] = []

    async def save(*_: object) -> float | None:
        times.append(asyncio.get_running_loop().time())
        return spent

    monkeypatch.setattr(keeper, "PAUSE", pause)
    monkeypatch.setattr(keeper, "AGAIN", again)
    monkeypatch.setattr(Store, "save", save)
    registration = await setting.gated.register([ONE])
    with reading(setting.open()):
        await eventually(lambda: len(times) == 1)
        await registration.update([TWO])
        await eventually(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.3


async def test_an_unchanged_list_is_confirmed_while_the_registry_is_well(
    setting: Setting,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "CONFIRM", (0.02, 0.03))
    looks = count(Keeper, "_confirm")
    await setting.gated.register([ONE])
    with reading(setting.open()):
        await eventually(lambda: setting.saved() is not None)
        saved_at = setting.saved().saved_at
        await eventually(lambda: setting.saved().saved_at > saved_at)
        setting.gated.problem = "does not answer"
        seen = len(looks)
        await eventually(lambda: len(looks) > seen + 2)
        saved_at, seen = setting.saved().saved_at, len(looks)
        await eventually(lambda: len(looks) > seen + 5)
        assert setting.saved().saved_at == saved_at
        setting.gated.problem = None
        await eventually(lambda: setting.saved().saved_at > saved_at)


async def test_what_a_reader_has_not_fetched_is_not_confirmed(
    setting: Setting,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "CONFIRM", (0.02, 0.03))
    looks = count(Keeper, "_confirm")
    await setting.gated.register([ONE])
    async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
        await anext(updates)
        await eventually(lambda: setting.saved() is not None)
        saved_at, seen = setting.saved().saved_at, len(looks)
        await eventually(lambda: len(looks) > seen + 5)
        assert setting.saved().saved_at == saved_at


async def test_a_full_disk_is_told_once_and_written_to_when_it_has_room(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AGAIN", 0.02)
    tries: list[Path] = []
    real = files.write

    def write(directory: Path, name: str, data: bytes) -> None:
        tries.append(directory)
        if len(tries) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(directory, name, data)

    monkeypatch.setattr(files, "write", write)
    await setting.gated.register([ONE])
    with reading(setting.open()):
        await eventually(lambda: setting.ids() == {"one"})
    (failed,) = setting.events
    assert isinstance(failed, SnapshotFailed)
    assert failed.path == str(setting.directory)
    assert "No space left on device" in failed.problem
    assert "SEAWALL_SNAPSHOTS=" in failed.problem


async def test_a_directory_that_vanishes_is_made_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PAUSE", 0.0)
    registration = await setting.gated.register([ONE])
    with reading(setting.open()):
        await eventually(lambda: setting.ids() == {"one"})
        shutil.rmtree(setting.directory)
        await registration.update([TWO])
        await eventually(lambda: setting.ids() == {"two"})
    assert setting.directory.stat().st_mode & 0o777 == 0o700
    assert setting.events == []
