"""Reading the file that holds a service config, whatever it may be by now."""

from __future__ import annotations

import os
from stat import S_ISREG
from typing import Final

from seawall.errors import ConfigError

LARGEST: Final = 1024 * 1024
"""Bytes. No policy is as long, and etcd takes 1.5 MiB at most."""

_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0)
"""Opening a FIFO that nobody writes to would wait for ever, and so would the thread's end."""


def text_of(path: str) -> str:
    """What stands in the file at ``path``.

    Raises ``ConfigError`` if it can't be read, is no regular file, has more than 1 MiB, or is no
    UTF-8 text; the file is the subject of its problem. Waits for the disk, but never for a writer.
    """
    try:
        return _read(path).decode()
    except ConfigError:
        raise
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
    except ValueError as error:  # a path with a null in it
        problem = f"can't be read: {error}"
    raise ConfigError("", problem)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError("", "is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise ConfigError("", f"has more than {LARGEST} bytes")
    return data
