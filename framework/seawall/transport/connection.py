"""One instance's gRPC channel, kept connected and watched."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

import grpc
from grpc import ChannelConnectivity, aio

from seawall.call import Instance
from seawall.transport.direct import DirectMethod, until_ended
from seawall.transport.keepalive import channel_options
from seawall.transport.same_host import socket_of, target_of

_log = logging.getLogger("seawall.transport")

RETIRE_GRACE = 600.0
"""Seconds that calls under way may go on after their instance has left the registry."""

_SOCKET_WAIT_MS: Final = 1000
"""What a connection over a Unix socket may take until TCP is tried; it needs about 1 ms. Half of
what TCP is given, as a frozen instance costs a first call both."""
_LAST_WAIT: Final = 1.0
"""Seconds for cancelled calls to end: a moment, in which their channel is closed."""

_LAST_WORD: Final = 0.1
"""Seconds for gRPC to say that a channel is closed. It does at once, unless somebody keeps a call
of it; told later, it would look for this event loop when that may be gone."""


class Bound(Protocol):
    """A multi-callable as it is asked for: it makes its own twin on a channel."""

    def bind(self, channel: aio.Channel) -> Callable[..., Any]: ...


class Connection:
    """A gRPC channel to one instance.

    ``on_state(ready, problem)`` is called whenever the connection comes up or goes down. The
    channel always tries to be connected, with gRPC's own back-off (0.1 to 2 s).

    An instance on this host is connected to over its Unix socket if that can be trusted (see
    ``same_host``) and ``credentials`` is None. When that can't be connected, or breaks and isn't
    back at the first try, TCP takes its place, for as long as this connection lives.
    """

    _stack: Any = aio
    """Whose channels these are: ``grpc.aio``'s or ``grpc``'s own."""

    def __init__(
        self,
        instance: Instance,
        on_state: Callable[[bool, str | None], None],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._instance = instance
        self._on_state = on_state
        self._credentials = credentials
        self._up = False
        self._lost_at = 0.0
        """When it last was something else than up, as far as we have heard."""
        self._left = False
        self._socket: str | None = None
        """The path of the socket that is in use."""
        if credentials is None:
            self._socket, why_not = socket_of(instance.metadata)
            if why_not:
                _log.debug("%s is called over TCP: %s", instance.address, why_not)
        self._channel = self._open() if self._socket is None else self._open_socket(self._socket)
        self.callables: dict[Bound, Callable[..., Any]] = {}
        """By method: the multi-callables of the channel in use."""
        self._watcher: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        """Channels that are being closed."""

    def start(self) -> None:
        """Connect, and stay connected."""
        self._watcher = asyncio.create_task(self._watch())

    def bind(self, bound: Bound) -> Callable[..., Any]:
        """Make the multi-callable of this channel that stands behind ``bound``, and keep it."""
        made = self.callables[bound] = bound.bind(self._channel)
        return made

    @property
    def connected(self) -> bool:
        """Whether the connection is up at this moment, and ``on_state`` has been told.

        So a call that failed with the socket never sees the TCP connection that came after it.
        """
        return self._up and self._channel.get_state() is ChannelConnectivity.READY

    def lost_since(self, when: float) -> bool:
        """Whether the connection is down, or has been since ``when`` (``time.monotonic``)."""
        self.notice()
        return self._lost_at >= when

    def notice(self) -> None:
        """Keep in mind if the connection is down: it may be up again in a moment."""
        if not self.connected:
            self._lost_at = time.monotonic()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel. Calls under way have ``grace`` seconds; None cancels them at once."""
        self._left = True
        self._end(grace)
        # In tasks: cancelled half-way, gRPC's close would leave the connection open for ever.
        endings = tuple(self._endings)
        try:
            await asyncio.wait(endings, timeout=(grace or 0.0) + _LAST_WAIT)
            if self._watcher is not None:
                await asyncio.wait((self._watcher,), timeout=_LAST_WORD)
        except asyncio.CancelledError:
            await asyncio.wait(endings, timeout=_LAST_WAIT)  # their calls were cancelled, too
            raise
        finally:
            if self._watcher is not None:
                self._watcher.cancel()

    def _end(self, grace: float | None) -> None:
        """Close the channel in use, in the background."""
        ending = asyncio.create_task(self._closing(grace))
        self._endings.add(ending)
        _unfinished.add(ending)
        ending.add_done_callback(self._endings.discard)
        ending.add_done_callback(_unfinished.discard)

    def _closing(self, grace: float | None) -> Coroutine[Any, Any, None]:
        made: Iterable[object] = self.callables.values()
        return _close(self._channel, [one for one in made if isinstance(one, DirectMethod)], grace)

    def _open(self) -> Any:
        target = _target(self._instance.address)
        options = channel_options(self._instance.metadata)
        if self._credentials is None:
            return self._stack.insecure_channel(target, options=options)
        return self._stack.secure_channel(target, self._credentials, options=options)

    def _open_socket(self, path: str) -> Any:
        options = dict(channel_options(self._instance.metadata))
        options["grpc.min_reconnect_backoff_ms"] = _SOCKET_WAIT_MS
        return self._stack.insecure_channel(target_of(path), options=list(options.items()))

    async def _watch(self) -> None:
        while True:
            channel = self._channel
            state = channel.get_state(try_to_connect=not self._left)
            if state is ChannelConnectivity.SHUTDOWN:
                return
            if self._left or self._heard(state):
                try:
                    await channel.wait_for_state_change(state)
                    self._lost_at = time.monotonic()  # it may be up again by now
                except aio.UsageError:
                    return  # it has been closed in this moment

    def _heard(self, state: ChannelConnectivity) -> bool:
        """Take in the state of the channel. False if another one has taken its place."""
        failed = state is ChannelConnectivity.TRANSIENT_FAILURE
        if failed and self._socket is not None:
            self._fall_back(self._socket)
            return False
        self._up = state is ChannelConnectivity.READY
        if not self._up:
            self._lost_at = time.monotonic()
        problem = "can't connect: refused, unreachable or not answering" if failed else None
        self._on_state(self._up, problem)
        return True

    def _fall_back(self, path: str) -> None:
        """Put a TCP channel in the place of the socket's.

        No call is lost that TCP would have kept: those waiting for a connection have failed
        unsent, and those on one that a stopping server still serves go on there.
        """
        _log.debug("%s is called over TCP: %s does not answer", self._instance.address, path)
        self._socket = None
        self._end(RETIRE_GRACE)
        self._channel = self._open()
        self.callables = {}


async def _close(channel: Any, methods: Sequence[DirectMethod], grace: float | None) -> None:
    """gRPC's own calls of ``channel`` and attempts of ``methods`` have ``grace`` seconds."""
    began = time.monotonic()
    await until_ended(methods, grace)
    await channel.close(grace and max(0.001, grace - (time.monotonic() - began)))


_unfinished: Final[set[asyncio.Task[None]]] = set()
"""The event loop itself keeps no task alive."""


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
