"""What the processes of the benchmark can be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

Action = Callable[..., Awaitable[Any]]


class Role(Protocol):
    """Something that a process is, for as long as it lives."""

    @property
    def actions(self) -> Mapping[str, Action]:
        """What it can be told to do, by name."""

    async def open(self, **spec: Any) -> dict[str, Any]:
        """Get ready; what it returns is its hello."""

    async def aclose(self) -> None:
        """Give everything back."""


ROLES: dict[str, tuple[str, str]] = {
    "caller": ("bench.discovery.roles.caller", "Caller"),
    "chooser": ("bench.discovery.roles.chooser", "Chooser"),
    "counter": ("bench.discovery.roles.counter", "Counter"),
    "dialler": ("bench.discovery.roles.dialler", "Dialler"),
    "host": ("bench.discovery.roles.host", "Host"),
    "owner": ("bench.discovery.roles.owner", "Owner"),
    "watcher": ("bench.discovery.roles.watcher", "Watcher"),
    "writer": ("bench.discovery.roles.writer", "Writer"),
}
"""By name: module and class, so that a process imports only its own."""
