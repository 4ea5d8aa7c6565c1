"""What a client can dial: ``host:port``, ``[v6]:port`` and ``unix:path``."""

from __future__ import annotations

import ipaddress
import re

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def address_problem(address: str) -> str | None:
    """What is wrong with ``address``, in words for an error message; None = nothing."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        return _path_problem(path)
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        return "is not host:port"
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        return f"has no port from 1 to 65535 after its last colon, but {port!r}"
    return _host_problem(host, port)


def _path_problem(path: str) -> str | None:
    if not path:
        return "names no path"
    plain = path.isprintable() and path.isascii()
    return None if plain else "has a character in its path that is no plain one"


def _host_problem(host: str, port: str) -> str | None:
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return f"has no IPv6 address in its brackets, but {host[1:-1]!r}"
        return None
    if ":" in host:
        return f"needs brackets round its IPv6 address: [{host}]:{port}"
    return None if _NAME.fullmatch(host) else f"has no host name before its port, but {host!r}"
