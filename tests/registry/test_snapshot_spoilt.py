"""Last good lists on disk that are not to be trusted: told once, and as if they weren't there."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seawall.events import SnapshotRefused
from seawall.registry.snapshots import files
from seawall.registry.snapshots.format import MAX_SIZE
from seawall.registry.snapshots.store import MAX_AGE, SKEW
from tests.registry.snapshot_fixtures import IDENTITY, ONE, SERVICE, TWO, Disk, disk

__all__ = ["disk"]

Spoil = Callable[[Path, pytest.MonkeyPatch], None]


def content(**changes: Any) -> bytes:
    """A file with a right checksum and something else than usual in it."""
    body = {
        "registry": IDENTITY,
        "service": SERVICE,
        "saved_at": time.time(),
        "instances": [{"id": "one", "address": "127.0.0.1:1001", "metadata": {}}],
    }
    return signed(json.dumps({**body, **changes}))


def signed(body: str, version: int = 1) -> bytes:
    data = body.encode()
    return b"seawall-snapshot %d %s\n" % (version, hashlib.sha256(data).hexdigest().encode()) + data


def put(data: bytes) -> Spoil:
    return lambda path, _: path.write_bytes(data) and None


def mode(bits: int) -> Spoil:
    return lambda path, _: path.chmod(bits)


def saved(age: float) -> Spoil:
    return lambda path, _: path.write_bytes(content(saved_at=time.time() - age)) and None


def with_instance(**facts: Any) -> Spoil:
    one = {"id": "one", "address": "127.0.0.1:1001", "metadata": {}}
    two = {"id": "two", "address": "127.0.0.1:1002", "metadata": {}, **facts}
    return put(content(instances=[one, two]))


def replaced(make: Callable[[Path], object]) -> Spoil:
    def spoil(path: Path, _: pytest.MonkeyPatch) -> None:
        path.unlink()
        make(path)

    return spoil


def link(path: Path) -> None:
    (path.parent / "target").write_bytes(content())
    path.symlink_to("target")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as short:
        made.bind(f"{short}/s")
        Path(short, "s").rename(path)


def sparse(path: Path, _: pytest.MonkeyPatch) -> None:
    os.truncate(path, MAX_SIZE + 1)


def foreign(path: Path, patch: pytest.MonkeyPatch) -> None:
    """The directory is ours and the file is not: a stranger's, moved there by root."""
    real, theirs = os.fstat, path.stat().st_ino

    def fstat(file: int) -> os.stat_result:
        facts = real(file)
        uid = facts.st_uid + 1 if facts.st_ino == theirs else facts.st_uid
        return os.stat_result((*facts[:4], uid, *facts[5:10]))

    patch.setattr(os, "fstat", fstat)


def no_permission(file: int) -> bytes:
    raise PermissionError(13, "Permission denied")


AMISS: dict[str, tuple[Spoil, str]] = {
    "empty": (put(b""), "cut short"),
    "something else": (put(b"#!/bin/sh\n"), "not a snapshot"),
    "another format": (put(signed("{}", 2)), "its format is 2"),
    "cut short": (lambda path, _: os.truncate(path, 150), "cut short"),
    "a pipe": (replaced(os.mkfifo), "not a file: remove it"),
    "a link": (replaced(link), "a link or a socket"),
    "a socket": (replaced(listening), "a link or a socket"),
    "a directory": (replaced(Path.mkdir), "not a file: remove it"),
    "huge": (sparse, f"the limit is {MAX_SIZE}"),
    "for all to write": (mode(0o666), "chmod 600"),
    "for the group to write": (mode(0o620), "chmod 600"),
    "not to be read": (
        lambda _, patch: patch.setattr(files, "_read", no_permission),
        "can't be read (Permission denied)",
    ),
    "foreign": (foreign, "belongs to user"),
    "of another registry": (put(content(registry="etcd://b:2379/x")), "'etcd://b:2379/x'"),
    "of another service": (put(content(service="shop.v1.Orders")), "'shop.v1.Orders'"),
    "too old": (saved(MAX_AGE + 60), "none is used after 24 h"),
    "from the future": (saved(-SKEW - 60), "clock"),
    "from beyond all calendars": (put(content(saved_at=1e300)), "of second 1e+300"),
    "without a time": (put(content(saved_at=None)), "when it was saved"),
    "at a whole number": (put(content(saved_at=10**400)), "when it was saved"),
    "at no time": (put(content(saved_at="1700000000")), "when it was saved"),
    "at an endless time": (put(content(saved_at=1e999)), "not JSON"),
    "not JSON": (put(signed("{")), "not JSON"),
    "no object": (put(signed("[]")), "not a JSON object"),
    "deep": (put(signed("[" * 100_000)), "not JSON"),
    "not a number": (put(content(x=float("nan"))), "not JSON"),
    "half a pair": (put(content(x="\ud800")), "not JSON"),
    "no list": (put(content(instances={})), "no list"),
    "an empty list": (put(content(instances=[])), "no list"),
    "no instance": (put(content(instances=["one"])), "instances[0]"),
    "no id": (with_instance(id=""), "instances[1]"),
    "a number for an id": (with_instance(id=2), "instances[1]"),
    "an id twice": (with_instance(id="one"), "instances[1]"),
    "no address": (with_instance(address=None), "instances[1]"),
    "a bad address": (with_instance(address="127.0.0.1:99999"), "instances[1]"),
    "no metadata": (with_instance(metadata=[]), "instances[1]"),
}


@pytest.mark.parametrize(
    ("spoil", "said"),
    AMISS.values(),
    ids=AMISS.keys(),
)
async def test_what_is_amiss_is_told_once_and_is_as_if_it_were_not_there(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, said: str
) -> None:
    await disk.save(ONE, TWO)
    with monkeypatch.context() as patch:
        spoil(disk.path, patch)
        for _ in range(2):
            assert await disk.ids() is None
    (refused,) = disk.events
    assert isinstance(refused, SnapshotRefused)
    assert refused.path == str(disk.path)
    assert said in refused.problem


@pytest.mark.parametrize("spoil", [put(b""), mode(0o666), replaced(os.mkfifo), replaced(link)])
async def test_the_next_list_takes_the_place_of_what_was_amiss(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    await disk.save(ONE)
    spoil(disk.path, monkeypatch)
    assert await disk.save(TWO)
    assert await disk.ids() == ["two"]
    assert not disk.path.is_symlink()


async def test_a_little_from_the_future_is_a_clock_that_was_set_back(disk: Disk) -> None:
    await disk.save(ONE, age=-SKEW / 2)
    assert await disk.ids() == ["one"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.rename(path.with_name("other")) and path.symlink_to("other"), "other"),
        (lambda path: path.chmod(0o770), "chmod 700"),
    ],
    ids=["link", "mode"],
)
async def test_a_directory_that_others_may_have_a_hand_in(
    disk: Disk, spoil: Callable[[Path], None], said: str
) -> None:
    await disk.save(ONE)
    spoil(disk.path.parent)
    for _ in range(2):
        assert await disk.ids() is None
        assert not await disk.save(TWO)
    (refused,) = disk.events
    assert isinstance(refused, SnapshotRefused)
    assert refused.path == str(disk.path.parent)
    assert said in refused.problem
    assert "SEAWALL_SNAPSHOTS=" in refused.problem


async def test_a_directory_of_another_user(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    await disk.save(ONE)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    assert await disk.ids() is None
    assert not await disk.save(TWO)
    (refused,) = disk.events
    assert isinstance(refused, SnapshotRefused)
    assert f"belongs to user {us}, and this process is user {us + 1}" in refused.problem
