"""The Unix socket beside a server's port, for callers on the same host.

It saves them the network stack: see docs/performance.md. Each server has a name of its own in a
directory that is this user's alone. gRPC removes the socket when it stops listening; what killed
processes left behind is removed by whoever starts next.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from grpc import aio

from seawall.call import JSON
from seawall.registry.local import directory as local
from seawall.transport import same_host

_log = logging.getLogger("seawall.server")

_DIRECTORY: Final = "sockets"
_LEFT_AFTER: Final = 60.0
"""Seconds after which a socket that refuses connections is a dead process's. Between the moments
when a socket gets its name and when it is listened on, which are microseconds apart, it refuses
them too."""


def open_socket(server: aio.Server) -> Path | None:
    """Have ``server`` listen on a Unix socket as well, before it is started. Returns its path.

    None if that can't be: callers have TCP, and the log says why. When the server stops, gRPC
    removes the socket.
    """
    try:
        directory = _own_directory()
        problem = same_host.directory_problem(directory)
        if same_host.host_id() is None:
            problem = "is of no use: /proc does not tell callers which host they are on"
    except OSError as error:
        problem = f"can't be made: {error}"
    if problem:
        _tell(problem)
        return None
    path = directory / same_host.new_name()
    if len(os.fsencode(path)) > same_host.LONGEST:
        _log.debug("no Unix socket: %s is longer than %d bytes", path, same_host.LONGEST)
        return None
    remove_leftovers(directory)
    return _bind(server, path)


def facts_of(path: Path | None) -> dict[str, JSON]:
    """What the registry announces of where a server runs; ``path``: its socket's."""
    host = same_host.host_id()
    facts: dict[str, JSON] = {} if host is None else {same_host.HOST: host}
    if path is not None:
        facts[same_host.SOCKET] = str(path)
    return facts


def _bind(server: aio.Server, path: Path) -> Path | None:
    try:
        server.add_insecure_port(same_host.target_of(str(path)))
        path.chmod(0o600)
        problem = same_host.socket_problem(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"can't be made: {error}"
    if problem:
        _tell(problem)
        return None
    return path


def _own_directory() -> Path:
    """Where this user's sockets are, without links on the way. Raises ``OSError``."""
    base = local.default()
    # Not ``mkdir(parents=True)``: that makes the parents as open as the umask lets it.
    base = base.parent.resolve() / base.name
    for directory in (base, base / _DIRECTORY):
        directory.mkdir(mode=0o700, exist_ok=True)
    return base / _DIRECTORY


def _tell(problem: str) -> None:
    _log.info(
        "served over TCP only: a Unix socket for callers on this host %s "
        "(to do without it: SEAWALL_UNIX_SOCKET=off)",
        problem,
    )


def remove_leftovers(directory: Path) -> None:
    """Remove the sockets of processes that were killed. Never raises: that can wait."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if same_host.is_name(entry.name) and _is_left(entry):
                Path(entry.path).unlink(missing_ok=True)


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is an old socket that nobody listens on. Names aren't used twice."""
    try:
        facts = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(facts.st_mode) or time.time() - facts.st_mtime < _LEFT_AFTER:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # one that is listened on and overrun says so at once
        try:
            probe.connect(entry.path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
