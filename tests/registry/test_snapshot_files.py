"""Last good lists on disk: what is written, and what is refused when it is read."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Instance
from seawall.events import SnapshotFailed
from seawall.registry.snapshots import files
from seawall.registry.snapshots.format import (
    NAME,
    Malformed,
    decode,
    encode,
    file_name,
)
from seawall.registry.snapshots.store import MAX_AGE
from tests.registry.snapshot_fixtures import (
    IDENTITY,
    LIMIT,
    ONE,
    SERVICE,
    TWO,
    Disk,
    disk,
    instance,
)

__all__ = ["disk"]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.text(min_size=1), st.dictionaries(st.text(), JSON, max_size=3))))
def test_what_is_written_is_read(facts: list[tuple[str, dict[str, Any]]]) -> None:
    listed = [Instance(SERVICE, id_, "h:1", metadata) for id_, metadata in dict(facts).items()]
    data = encode(IDENTITY, SERVICE, listed, 12.5)
    if data is None:
        assert not listed
        return
    snapshot = decode(data, IDENTITY, SERVICE)
    assert snapshot.saved_at == 12.5
    assert list(snapshot.instances) == listed


@given(st.text(), st.text())
def test_no_name_leads_anywhere_else(identity: str, service: str) -> None:
    assert NAME.fullmatch(file_name(identity, service))
    assert file_name(identity, service) != file_name(identity + "x", service)
    assert file_name(identity, service) != file_name(identity, service + "x")


@pytest.mark.parametrize(
    "odd",
    [
        Instance(SERVICE, "odd", "no address"),
        Instance(SERVICE, "", "127.0.0.1:1"),
        Instance("shop.v1.Orders", "odd", "127.0.0.1:1"),
        Instance(SERVICE, "odd", "127.0.0.1:1", {"x": float("nan")}),
        Instance(SERVICE, "odd", "127.0.0.1:1", {"x": object()}),  # type: ignore[dict-item]
        Instance(SERVICE, "half a pair \ud800", "127.0.0.1:1"),
    ],
    ids=["address", "id", "service", "nan", "object", "surrogate"],
)
def test_what_could_not_be_read_again_is_left_out(odd: Instance) -> None:
    data = encode(IDENTITY, SERVICE, [odd, ONE], 0.0)
    assert data is not None
    assert decode(data, IDENTITY, SERVICE).instances == (ONE,)
    assert encode(IDENTITY, SERVICE, [odd], 0.0) is None


def test_damage_anywhere_is_noticed() -> None:
    data = encode(IDENTITY, SERVICE, [ONE, TWO], 1.0)
    assert data is not None
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        for spoilt in (bytes(flipped), data[:position]):
            with pytest.raises(Malformed):
                decode(spoilt, IDENTITY, SERVICE)


async def test_files_are_this_users_alone(disk: Disk) -> None:
    assert await disk.save(ONE, TWO)
    assert await disk.ids() == ["one", "two"]
    assert disk.path.stat().st_mode & 0o7777 == 0o600
    assert disk.path.parent.stat().st_mode & 0o7777 == 0o700
    assert disk.path.name.startswith(f"{SERVICE}-")
    assert await disk.save()
    assert list(disk.path.parent.iterdir()) == []
    assert await disk.save(), "nothing there is as it should be"
    assert disk.events == []


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    disk = Disk(tmp_path / "file" / "snapshots")
    for _ in range(2):
        assert not await disk.save(ONE)
    (failed,) = disk.events
    assert isinstance(failed, SnapshotFailed)
    assert failed.path == str(disk.path.parent)
    assert "Not a directory" in failed.problem


async def test_a_write_that_fails_leaves_the_old_list_and_nothing_else(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(file: int, data: bytes) -> None:
        os.write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    await disk.save(ONE)
    monkeypatch.setattr(files, "_write", write)
    assert not await disk.save(TWO)
    assert list(disk.path.parent.iterdir()) == [disk.path]
    assert await disk.ids() == ["one"]


async def test_what_is_too_large_is_not_written(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seawall.registry.snapshots.store.MAX_SIZE", 300)
    assert await disk.save(ONE)
    assert not await disk.save(*(instance(f"i{number}") for number in range(10)))
    (failed,) = disk.events
    assert isinstance(failed, SnapshotFailed)
    assert "above 300" in failed.problem


async def test_leftovers_are_removed_at_the_first_write(disk: Disk) -> None:
    await disk.save(ONE)
    place = disk.path.parent
    old, young = (place / f".{disk.path.name}.{16 * digit}" for digit in "01")
    gone, kept = (place / file_name(IDENTITY, name) for name in ("shop.v1.Gone", "shop.v1.Kept"))
    foreign_file = place / "README"
    for path in (old, young, gone, kept, foreign_file):
        path.touch()
    long_ago = time.time() - MAX_AGE - 60
    for path in (old, gone, foreign_file):
        os.utime(path, (long_ago, long_ago))
    assert await Disk(place).save(ONE)
    assert set(place.iterdir()) == {disk.path, young, kept, foreign_file}


async def test_who_has_written_lately(disk: Disk) -> None:
    assert not await disk.store.fresh(SERVICE, 60)
    await disk.save(ONE)
    assert await disk.store.fresh(SERVICE, 60)
    for age in (120, -120):
        os.utime(disk.path, (time.time() - age,) * 2)
        assert not await disk.store.fresh(SERVICE, 60)


def test_many_writers_and_a_reader_that_always_finds_a_whole_list(tmp_path: Path) -> None:
    directory, name = tmp_path / "snapshots", file_name(IDENTITY, SERVICE)
    lists = [[instance(f"{writer}-{n}") for n in range(50 * writer)] for writer in range(1, 5)]
    contents = [encode(IDENTITY, SERVICE, listed, 0.0) for listed in lists]
    problems: list[BaseException] = []

    def write(data: bytes) -> None:
        try:
            for _ in range(100):
                files.write(directory, name, data)
        except BaseException as error:
            problems.append(error)

    writers = [threading.Thread(target=write, args=(data,)) for data in contents]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(files.read(directory, name))
    for writer in writers:
        writer.join(LIMIT)
    assert not problems
    assert seen - {None} <= set(contents)
    assert [path.name for path in directory.iterdir()] == [name]
