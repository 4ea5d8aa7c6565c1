"""What happens in a directory, told by the Linux kernel (``man 7 inotify``)."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final


class Happened(IntFlag):
    """Bits of an event, as in ``<sys/inotify.h>``."""

    CLOSE_WRITE = 0x0008
    MOVED_FROM = 0x0040
    MOVED_TO = 0x0080
    DELETE = 0x0200
    DELETE_SELF = 0x0400
    MOVE_SELF = 0x0800
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    IGNORED = 0x8000


_ENTRIES: Final = Happened.CLOSE_WRITE | Happened.MOVED_FROM | Happened.MOVED_TO | Happened.DELETE
_ITSELF: Final = Happened.DELETE_SELF | Happened.MOVE_SELF
_ONLYDIR: Final = 0x01000000
_EXCL_UNLINK: Final = 0x04000000
"""No events for files that have no name any more, such as one that was just replaced."""

DIRECTORY_GONE: Final = _ITSELF | Happened.UNMOUNT | Happened.IGNORED

_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened to ``name``, or, if that is empty, to the directory itself."""

    what: Happened
    name: str


class Inotify:
    """Tells of the entries of one directory that were put there, replaced, closed or removed.

    Raises ``OSError`` if the system has no inotify, or no more of it for this user.
    """

    def __init__(self, directory: Path) -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            init, add = libc.inotify_init1, libc.inotify_add_watch
        except AttributeError:
            raise OSError("this system has no inotify") from None
        self._file: int = init(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise _error(directory)
        mask = _ENTRIES | _ITSELF | _ONLYDIR | _EXCL_UNLINK
        if add(self._file, os.fsencode(directory), ctypes.c_uint32(mask)) < 0:
            error = _error(directory)
            self.close()
            raise error

    def fileno(self) -> int:
        return self._file

    def read(self) -> list[Notice]:
        """What happened since the last time; an empty list if nothing did. Never waits."""
        try:
            data = os.read(self._file, _BUFFER)
        except BlockingIOError:
            return []
        notices = []
        position = 0
        while position < len(data):
            _, mask, _, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size
            name = data[position : position + length].rstrip(b"\0")
            position += length
            notices.append(Notice(Happened(mask), os.fsdecode(name)))
        return notices

    def close(self) -> None:
        """Release it. More than once does no harm."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _error(directory: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(directory))
