"""One instance's gRPC channel, kept connected and watched."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any, Protocol

import grpc
from grpc import ChannelConnectivity, aio

from seawall.call import Instance
from seawall.transport.keepalive import channel_options

RETIRE_GRACE = 600.0
"""Seconds that calls under way may go on after their instance has left the registry."""


class Bound(Protocol):
    """A multi-callable as it is asked for: it makes its own twin on a channel."""

    def bind(self, channel: aio.Channel) -> Callable[..., Any]: ...


class Connection:
    """A gRPC channel to one instance.

    ``on_state(ready, problem)`` is called whenever the connection comes up or goes down. The
    channel always tries to be connected, with gRPC's own back-off (0.1 to 2 s).
    """

    def __init__(
        self,
        instance: Instance,
        on_state: Callable[[bool, str | None], None],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._on_state = on_state
        options = channel_options(instance.metadata)
        target = _target(instance.address)
        if credentials is None:
            self._channel = aio.insecure_channel(target, options=options)
        else:
            self._channel = aio.secure_channel(target, credentials, options=options)
        self.callables: dict[Bound, Callable[..., Any]] = {}
        """By method: the multi-callables of this channel."""
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected."""
        self._watcher = asyncio.create_task(self._watch())

    def bind(self, bound: Bound) -> Callable[..., Any]:
        """Make the multi-callable of this channel that stands behind ``bound``, and keep it."""
        made = self.callables[bound] = bound.bind(self._channel)
        return made

    @property
    def connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._channel.get_state() is ChannelConnectivity.READY

    async def close(self, grace: float | None = None) -> None:
        """Close the channel. Calls under way have ``grace`` seconds; None cancels them at once."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._channel.close(grace)

    async def _watch(self) -> None:
        channel = self._channel
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is ChannelConnectivity.READY:
                self._on_state(True, None)
            elif state is ChannelConnectivity.TRANSIENT_FAILURE:
                self._on_state(False, "can't connect: refused, unreachable or not answering")
            elif state is ChannelConnectivity.SHUTDOWN:
                return
            else:
                self._on_state(False, None)
            await channel.wait_for_state_change(state)


def _target(address: str) -> str:
    """The gRPC target of an address, without a name look-up where it is a number."""
    if address.startswith(("unix:", "unix-abstract:")):
        return address
    host = address.rpartition(":")[0].strip("[]")
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return f"dns:///{address}"
    return f"ipv{version}:{address}"
