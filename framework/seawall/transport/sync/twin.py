"""A method on one instance's own channel, and who uses that channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc


class Line:
    """One gRPC channel and the attempts on it: it is closed when the last one has ended."""

    __slots__ = ("channel", "closing", "next_look", "on_idle", "on_state", "state", "users")

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.closing = False
        self.users: set[object] = set()
        self.on_idle: Callable[[], None] | None = None
        """Called, on any thread, when nobody uses it any more."""
        self.on_state: Any = None
        """What is subscribed to its states, if it can't be asked for them."""
        self.state: grpc.ChannelConnectivity | None = None
        """As it was when it was asked last."""
        self.next_look: asyncio.TimerHandle | None = None
        """When it is asked again."""

    def leave(self, token: object) -> None:
        """The one that put ``token`` among the users has ended."""
        self.users.discard(token)
        if self.on_idle is not None and not self.users:
            self.on_idle()


class Twin:
    """gRPC's multi-callable for a method on one line."""

    __slots__ = ("blocks", "line", "make")

    def __init__(self, make: Any, line: Line, *, blocks: bool) -> None:
        self.make = make
        self.line = line
        self.blocks = blocks
        """Whether its blocking calls can be cancelled, so that they may be made."""
