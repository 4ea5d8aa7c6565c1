"""To which ports a process is connected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ESTABLISHED: Final = "01"


def remote_ports(pid: int) -> set[int]:
    """The ports that a process is connected to over TCP."""
    ours = set(_sockets(pid))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, _, remote, state, *rest = line.split()
            if state == _ESTABLISHED and rest[5] in ours:
                ports.add(int(remote.rpartition(":")[2], 16))
    return ports


def _sockets(pid: int) -> Iterator[str]:
    """The inode numbers of its sockets."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind, _, inode = str(descriptor.readlink()).partition(":")
        except FileNotFoundError:  # closed in the meantime
            continue
        if kind == "socket":
            yield inode.strip("[]")
