"""The files of snapshots, in a directory that belongs to this user alone. All of it blocks.

A file is written under a name that nobody else uses and then renamed, so a reader finds the old
one or the new one, whole. It is not synced: what a loss of power leaves half-written, its
checksum gives away.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from seawall.registry.private import objection
from seawall.registry.snapshots.format import MAX_SIZE, NAME
from seawall.registry.snapshots.place import SETTING

LEFT_BEHIND: Final = 3600.0
"""Seconds after which a file that is still being written is a dead process's."""

_TEMPORARY: Final = re.compile(rf"\.{NAME.pattern}\.[0-9a-f]{{16}}")
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not blocking: to open a pipe would wait for somebody to write into it."""
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Untrusted(Exception):
    """Others may have a hand in what is at ``path``; the text says how, and what mends it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path


@contextmanager
def opened(directory: Path, *, create: bool = False) -> Iterator[int]:
    """A descriptor of ``directory``, so that what follows is done there and nowhere else.

    Raises ``Untrusted``, or ``OSError`` if it can't be opened or made.
    """
    try:
        facts = directory.lstat()
    except FileNotFoundError:
        if not create:
            raise
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = directory.lstat()
    _check(directory, facts)
    descriptor = os.open(directory, _DIRECTORY)
    try:
        _check(directory, os.fstat(descriptor))  # it may have been another one
        yield descriptor
    finally:
        os.close(descriptor)


def _check(directory: Path, facts: os.stat_result) -> None:
    if problem := objection(directory, facts, SETTING):
        raise Untrusted(directory, problem)


def read(directory: Path, name: str) -> bytes | None:
    """What is in a file; None if it isn't there.

    Raises ``Untrusted`` for what others could have written, ``OSError`` if it can't be read.
    """
    path = directory / name
    try:
        with opened(directory) as place:
            file = os.open(name, _READ, dir_fd=place)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Untrusted(path, "it is a link or a socket, not a file: remove it") from None
        raise
    try:
        if problem := _objection(path, os.fstat(file)):
            raise Untrusted(path, problem)
        return _read(file)
    finally:
        os.close(file)


def _objection(path: Path, facts: os.stat_result) -> str | None:
    if not stat.S_ISREG(facts.st_mode):
        return "it is not a file: remove it"
    if facts.st_uid != os.geteuid():
        return f"it belongs to user {facts.st_uid}, not to user {os.geteuid()}: remove it"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"other users can write to it (mode {facts.st_mode & 0o7777:o}): remove it, or "
            f"chmod 600 {path} if you know what is in it"
        )
    if facts.st_size > MAX_SIZE:
        return f"it has {facts.st_size} bytes, and the limit is {MAX_SIZE}: remove it"
    return None


def _read(file: int) -> bytes:
    parts = []
    left = MAX_SIZE
    while left > 0 and (part := os.read(file, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write(directory: Path, name: str, data: bytes) -> None:
    """Put ``data`` into a file, in place of what was in it. Raises ``Untrusted``, ``OSError``."""
    with opened(directory, create=True) as place:
        temporary = f".{name}.{secrets.token_hex(8)}"
        file = os.open(temporary, _CREATE, 0o600, dir_fd=place)
        try:
            try:
                _write(file, data)
            finally:
                os.close(file)
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=place)
            raise


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def remove(directory: Path, name: str) -> None:
    """Remove a file, its absence being no error. Raises ``Untrusted``, ``OSError``."""
    with suppress(FileNotFoundError), opened(directory) as place:
        os.unlink(name, dir_fd=place)


def age(directory: Path, name: str, now: float) -> float | None:
    """Seconds since a file was written, by anybody; None if it isn't there. Raises as ``read``."""
    with suppress(FileNotFoundError), opened(directory) as place:
        return now - os.stat(name, dir_fd=place, follow_symlinks=False).st_mtime
    return None


def sweep(directory: Path, now: float, longest: float) -> None:
    """Remove what dead processes were writing, and snapshots that are older than ``longest``.

    Raises ``Untrusted``, ``OSError``.
    """
    with suppress(FileNotFoundError), opened(directory) as place, os.scandir(place) as entries:
        for entry in entries:
            limit = _limit(entry.name, longest)
            with suppress(OSError):
                if abs(now - entry.stat(follow_symlinks=False).st_mtime) > limit:
                    os.unlink(entry.name, dir_fd=place)


def _limit(name: str, longest: float) -> float:
    if _TEMPORARY.fullmatch(name):
        return LEFT_BEHIND
    return longest if NAME.fullmatch(name) else float("inf")
