"""Who runs on this host, and which Unix sockets here can be trusted.

A server announces its host and the path of its socket; a client that finds both to be its own uses
the socket in place of TCP. What a registry says is not believed: whoever can write there could name
a pipe, a device or another program's socket. So a path is used only if nobody but this user, or
root, could have put there what is there, and if its name is one that only servers of ours give.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from seawall.call import JSON

if TYPE_CHECKING:
    from pathlib import Path

HOST: Final = "host"
"""The key in an instance's metadata: which host it runs on, as ``host_id`` tells it."""

SOCKET: Final = "socket"
"""The key in an instance's metadata: the path of the Unix socket that it listens on."""

LONGEST: Final = 107
"""Bytes of a Unix socket's path: ``sun_path`` has 108 on Linux, the last one a zero."""

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_NAME: Final = re.compile(r"[0-9a-f]{24}\.seawall")


@cache
def host_id() -> str | None:
    """An id of the running kernel, the same in all its containers; None if it has none.

    Not the boot id itself, which some systems derive secrets from. Two containers of one kernel
    have the same id and don't see each other's sockets: a path must be looked at as well.
    """
    import hashlib  # loads OpenSSL, which most programs don't need at import
    from pathlib import Path

    try:
        boot = Path(_BOOT_ID).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return hashlib.sha256(f"seawall host {boot}".encode()).hexdigest()[:32] if boot else None


def new_name() -> str:
    """A name for a socket that nobody can guess."""
    return f"{os.urandom(12).hex()}.seawall"


def is_name(name: str) -> bool:
    """Whether ``name`` is one that ``new_name`` makes."""
    return _NAME.fullmatch(name) is not None


def target_of(path: str) -> str:
    """The gRPC target of a socket's path: gRPC reads it as a URL."""
    return f"unix:{quote(path)}"


def socket_of(facts: Mapping[str, JSON]) -> tuple[str | None, str]:
    """The path of the socket of an instance with these facts, if it can be used from here.

    Else None. And why not, in words for a log; empty if it offers none here.
    """
    path = facts.get(SOCKET)
    if path is None:
        return None, ""
    if facts.get(HOST) is None or facts.get(HOST) != host_id():
        return None, ""
    if not isinstance(path, str):
        return None, "its socket is no path"
    problem = socket_problem(path)
    return (None, f"its socket {path!r} {problem}") if problem else (path, "")


def socket_problem(path: str) -> str | None:
    """Why the socket at ``path`` can't be trusted, in words; None = it can."""
    from pathlib import Path

    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if length > LONGEST:
        return f"has {length} bytes, and {LONGEST} is the most"
    root, *parts = path.split("/")
    if root or not parts or "\0" in path or any(part in ("", ".", "..") for part in parts):
        return "is not an absolute path without '.' and '..'"
    if not is_name(parts[-1]):
        return "has not the name of a server's socket"
    try:
        return directory_problem(Path(path).parent) or _problem_of_socket(os.lstat(path))
    except OSError as error:
        return f"can't be looked at: {error.strerror}"


def directory_problem(directory: Path) -> str | None:
    """Why others could tamper with what is in ``directory``, in words; None = they can't.

    It must be this user's alone (mode 0700), and nobody but he and root may be able to put
    another one in its place. Raises ``OSError``.
    """
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        return f"is in {directory}, which is a link or no directory"
    if facts.st_uid != os.geteuid():
        return f"is in {directory}, which belongs to user {facts.st_uid}"
    if facts.st_mode & 0o077:
        return f"is in {directory}, which others may enter (mode {facts.st_mode & 0o7777:o})"
    return next(filter(None, map(_problem_above, directory.parents)), None)


def _problem_above(directory: Path) -> str | None:
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        return f"is below {directory}, which is a link"
    if facts.st_uid not in (0, os.geteuid()):
        return f"is below {directory}, which belongs to user {facts.st_uid}"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not facts.st_mode & stat.S_ISVTX:
        return f"is below {directory}, where others may write"
    return None


def _problem_of_socket(facts: os.stat_result) -> str | None:
    if not stat.S_ISSOCK(facts.st_mode):
        return "is no socket"
    if facts.st_uid != os.geteuid():
        return f"belongs to user {facts.st_uid}"
    return None
