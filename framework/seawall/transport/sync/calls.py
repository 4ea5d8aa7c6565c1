"""What all calls of a sync channel share, and what ends them: it outlives the channel object.

The channel object may be dropped without being closed; nothing here, and nothing that the
channel's threads hold, keeps it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from grpc import ChannelConnectivity, StatusCode

from seawall.call import Failure
from seawall.transport import aio as transport
from seawall.transport.state import state_of
from seawall.transport.sync import processes
from seawall.transport.sync.background import Background
from seawall.transport.sync.connectivity import Connectivity
from seawall.transport.sync.discovery import SyncDiscovery
from seawall.transport.sync.driver import SyncDriver
from seawall.transport.sync.pool import Pool
from seawall.transport.sync.timers import Timers
from seawall.transport.sync.user_code import calling_back

CLOSE_WITHIN: Final = 5.0
"""Seconds that ``close()`` waits for connections and registry, at most; they end in the background
then."""

_CLOSED: Final = Failure(StatusCode.CANCELLED, "the channel was closed")


class Router(transport.Router, Protocol):
    """Puts the parts of a route together; what it tells, it tells on any thread."""

    connectivity: Callable[[], None]


class Calls:
    """The calls under way on one channel, and what they go by."""

    def __init__(self, background: Background, router: Router) -> None:
        self.pid = os.getpid()
        self.background = background
        self.router = router
        self.timers = Timers()
        self.pool = Pool("seawall-fallback")
        self.active: set[SyncDriver] = set()
        """Calls with one response."""
        self.streams: weakref.WeakSet[SyncDriver] = weakref.WeakSet()
        """Calls with a stream of them; weakly, so that one dropped half read can be collected."""
        self.closed = False
        self.connectivity = Connectivity(self.state, background)
        router.connectivity = self.connectivity.look
        router.changed = self._reroute
        self._bounds: list[Any] = []
        self._lock = threading.RLock()
        processes.guard(self)

    def inherited(self) -> list[object]:
        """What must not be collected in a child process."""
        return [self, *self.active, *self.streams]

    def begin_to_follow(self, bound: Any) -> None:
        """Begin to watch what a method needs to be called."""
        with self._lock:
            self._bounds.append(bound)
        bound.reroute()  # the config may have been replaced in this moment
        bound.route.discovery.start()
        self.router.follow_config(bound.route.method.service)

    def add(self, call: SyncDriver, active: Any) -> None:
        """A call is about to begin."""
        if active is self.active:
            active.add(call)
        else:
            with self._lock:
                active.add(call)
        if self.closed:
            self.end(call)

    def end(self, call: SyncDriver) -> None:
        """End a call as the channel is closed."""
        call.end_with(_CLOSED)

    def check(self) -> None:
        """Raise what is in the way of a new call."""
        if os.getpid() != self.pid:
            raise RuntimeError(
                f"this channel was made by process {self.pid}, which this one, {os.getpid()}, was "
                "forked from: connections and threads do not survive a fork. Make the channel in "
                "each process after the fork (in gunicorn: in post_fork), and make no gRPC calls "
                "before it"
            )
        if self.closed:
            raise ValueError("Cannot invoke RPC: the channel is closed")

    def state(self) -> ChannelConnectivity:
        """READY if every service that is used has a connected instance."""
        if self.closed:
            return ChannelConnectivity.SHUTDOWN
        return state_of([discovery.group for discovery in self.router.discoveries])

    def close(self, within: float = CLOSE_WITHIN) -> None:
        """Cancel all calls, close all connections. Called again, it waits for the same end, at
        most ``within`` seconds. After a fork, and on a thread that the end needs, it does not
        wait."""
        if os.getpid() != self.pid:
            self.closed = True
            return
        with self._lock:
            first, self.closed = not self.closed, True
            under_way = [*self.active, *self.streams] if first else []
        for call in under_way:
            self.end(call)
        if first:
            self.connectivity.look()
            self.background.stop(self._end)
        if not self._is_needed_here():
            self.background.ended.wait(within)

    def _is_needed_here(self) -> bool:
        """Whether the channel's end needs this thread: it is the background's, or one of gRPC's,
        or a signal handler has interrupted it while it stepped a plan."""
        return (
            self.background.is_current
            or calling_back.now
            or any(
                discovery.is_locked_here
                for discovery in self.router.discoveries
                if isinstance(discovery, SyncDiscovery)
            )
        )

    async def _end(self) -> None:
        try:
            await self.router.close()
        finally:
            self.timers.close()
            self.pool.close()

    def _reroute(self) -> None:
        with self._lock:
            bounds = tuple(self._bounds)
        for bound in bounds:
            bound.reroute()
