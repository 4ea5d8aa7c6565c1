"""What the machine itself says of names: ``/etc/hosts``."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

HOSTS: Final = Path("/etc/hosts")
LARGEST: Final = 1 << 20
"""Bytes of it that are read: it is read on the event loop, which must not stand still."""

Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """Differs if the file has been changed or replaced; None = it can't be read."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a microsecond, at each look-up
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class HostsFile:
    """``/etc/hosts``, read again when it has changed."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or HOSTS
        self._stamp: Stamp | None = None
        self._names: Mapping[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of ``name``, IPv4 and IPv6; empty = it isn't there."""
        now = stamp(self._path)
        if now != self._stamp:
            self._stamp, self._names = now, self._read()
        return self._names.get(name.rstrip("."), ())

    def _read(self) -> Mapping[str, tuple[str, ...]]:
        try:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                return parse(file.read(LARGEST))
        except OSError as error:
            _log.info("%s can't be read: %s", self._path, error)
            return {}


def parse(text: str) -> Mapping[str, tuple[str, ...]]:
    """Addresses by name, as ``hosts(5)`` has them; what makes no sense is skipped."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        try:
            address = str(ipaddress.ip_address(fields[0])) if fields else ""
        except ValueError:
            continue
        for name in fields[1:]:
            found.setdefault(name.lower().rstrip("."), {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}
