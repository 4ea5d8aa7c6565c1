"""Where a server listens, what clients are told to dial, and why a port can't be had."""

from __future__ import annotations

import re
import socket

from seawall.errors import ConfigError


def host_of(advertise: str | None, routed: str | None) -> str:
    """The interface to listen on: no wider than it must be."""
    if advertise is None and (routed is None or routed.startswith("127.") or routed == "::1"):
        return "127.0.0.1"
    return "::"


def own_address(host: str) -> str:
    """Where this process itself reaches what listens on ``host``."""
    if host in ("::", "0.0.0.0"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def address_of(advertise: str | None, routed: str | None, host: str, port: int) -> str:
    """What clients are told to dial."""
    if advertise:
        if advertise.count(":") > 1 and not advertise.startswith(("[", "unix")):
            return f"[{advertise}]:{port}"  # IPv6
        if advertise.startswith("unix:") or re.search(r":\d+$", advertise):
            return advertise
        return f"{advertise}:{port}"
    shown = host if host not in ("::", "0.0.0.0") else routed or "127.0.0.1"
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def why_not_bound(host: str, port: int, mend: str) -> str:
    """gRPC says only that it could not: ask the system why. ``mend``: what to set instead."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"can't listen on {host} port {port}: {error.strerror}; {mend}"
    return f"can't listen on {host} port {port}; is the host an address of this machine?"


def check_listening(setting: str, address: str) -> None:
    """Raise ``ConfigError`` for what is no address to listen on: ``host:port`` or ``unix:/path``.
    Port 0 is a free one."""
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").removeprefix("//"):
            raise ConfigError(setting, f"{address!r} names no path")
        return
    host, _, port = address.rpartition(":")
    plain = host.startswith("[") == host.endswith("]") == (":" in host)
    if not (host and plain and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(
            setting, f"must be host:port, [IPv6 address]:port or unix:/path, not {address!r}"
        )
