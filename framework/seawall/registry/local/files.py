"""Files that live exactly as long as the process that holds them.

An owner keeps an advisory lock (``flock``, exclusive) on its file. The kernel drops it when the
process ends, however it ends, so a file without a lock is a dead one's.

Why nothing here races:

- A file is written and locked under a hidden name and then renamed: what has its real name is
  whole and locked.
- An owner that replaces its file lets go of the old one only after the new one is in place. So
  when a file is not locked *and still has its name*, its owner is dead. A name is never used
  again by another registration, so removing it then can't hit a living one.
- To look, a reader takes the lock shared and without waiting: any number of readers can at the
  same time, so none of them takes another one for the owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seawall.registry.local.entry import MAX_SIZE

NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.json")
"""Time of the registration (so that names sort by age), and chance."""

_HIDDEN: Final = re.compile(r"\.(new|old)-[0-9a-f]{16}-[0-9a-f]{8}\.json")
_HIDDEN_AGE: Final = 60.0
"""Seconds after which a hidden file is a dead process's; it's needed for less than one."""
_REPLACED: Final = 8
"""How often a file may be replaced while it is looked at before we give up for now."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Alive:
    """The file's owner lives. ``data`` is None if the file is the one that is known already."""

    stamp: Stamp
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Dead:
    """The file is there, its owner is not."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """There is something of that name that no process of ours has put there."""

    problem: str


def look(path: Path, known: Stamp | None = None) -> Alive | Dead | Gone | Unreadable:
    """Find out about ``path``. Raises ``OSError`` when that says nothing about the file."""
    for _ in range(_REPLACED):
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return Gone()
        except OSError as error:
            if error.errno in (errno.EACCES, errno.ELOOP, errno.ENXIO):
                return Unreadable(f"can't be opened: {error.strerror}")
            raise
        try:
            found = _examine(file, path, known)
        finally:
            os.close(file)
        if found is not None:
            return found
    raise OSError(errno.EBUSY, "replaced again and again", str(path))


def _examine(file: int, path: Path, known: Stamp | None) -> Alive | Dead | Unreadable | None:
    """What the open ``file`` is; None if it is no longer the one at ``path``."""
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        return Unreadable("is not a file")
    if _is_locked(file):
        stamp = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        return Alive(stamp, None if stamp == known else _read(file))
    return Dead() if _same_file(file, path) else None


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _read(file: int) -> bytes:
    parts = []
    left = MAX_SIZE + 1
    while left > 0 and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def remove(path: Path) -> None:
    """Remove a file, its absence being no error.

    It is renamed first: readers that are told of a rename know that the file went in good
    order, and take a plain deletion for somebody else's mistake, which its owner will mend.
    """
    hidden = path.with_name(f".old-{path.name}")
    try:
        path.rename(hidden)
        hidden.unlink()
    except FileNotFoundError:
        pass


def remove_leftovers(directory: Path) -> None:
    """Remove the hidden files of processes that died between two steps."""
    for entry in os.scandir(directory):
        if not _HIDDEN.fullmatch(entry.name):
            continue
        path = directory / entry.name
        try:
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _HIDDEN_AGE
        except FileNotFoundError:
            continue
        if old and isinstance(look(path), Dead):
            path.unlink(missing_ok=True)


class OwnFile:
    """A file of this process, locked from before it can be seen until it is removed."""

    def __init__(self, directory: Path) -> None:
        name = f"{time.time_ns():016x}-{secrets.token_hex(4)}.json"
        self.path = directory / name
        self._file = -1
        _own.add(self)

    def put(self, data: bytes) -> None:
        """Write ``data``, in place of what was there, without a moment in which nothing is.

        Raises ``OSError``.
        """
        hidden = self.path.with_name(f".new-{self.path.name}")
        hidden.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(hidden, flags, 0o600)
        try:
            _lock(file, hidden)
            _write(file, data)
            hidden.rename(self.path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            os.close(file)
            raise
        old, self._file = self._file, file
        if old >= 0:
            os.close(old)

    @property
    def intact(self) -> bool:
        """Whether the file at its path is still the one that this process has put there."""
        return self._file >= 0 and _same_file(self._file, self.path)

    def remove(self) -> None:
        """Remove it and let go of it. Does nothing in a child process that was forked off."""
        if self._file < 0:
            return
        try:
            remove(self.path)
        finally:
            os.close(self._file)
            self._file = -1

    def forget(self) -> None:
        """After a fork, in the child: close what was inherited, as it would keep the lock.

        Closing a copy leaves the lock with the parent; unlocking would take it from him.
        """
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int, path: Path) -> None:
    """Take the lock, and see that others can see it. Raises ``OSError``."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    probe = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        works = _is_locked(probe)
    finally:
        os.close(probe)
    if not works:
        raise OSError(errno.ENOLCK, "its file system has no working locks", str(path))


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


_own: Final[weakref.WeakSet[OwnFile]] = weakref.WeakSet()


def _forget_all() -> None:
    for file in tuple(_own):
        file.forget()


os.register_at_fork(after_in_child=_forget_all)
