"""What all calls of a sync channel share, and what ends them: it outlives the channel object.

The channel object may be dropped without being closed; nothing here, and nothing that the
channel's threads hold, keeps it.
"""

from __future__ import annotations

import logging
import os
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
from seawall.transport.sync.weakly import Weakly

_log = logging.getLogger("seawall.transport")

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
        self.callbacks = Pool("seawall-callback")
        self.active: set[SyncDriver] = set()
        """Calls with one response."""
        self.streams: Weakly[SyncDriver] = Weakly()
        """Calls with a stream of them; weakly, so that one dropped half read can be collected."""
        self.closed = False
        self.connectivity = Connectivity(self.state, background)
        router.connectivity = self.connectivity.look
        router.changed = self._reroute
        self._bounds: Weakly[Any] = Weakly()
        processes.guard(self)

    def inherited(self) -> list[object]:
        """What must not be collected in a child process."""
        return [self, *self.active, *self.streams]

    def begin_to_follow(self, bound: Any) -> None:
        """Begin to watch what a method needs to be called."""
        self._bounds.add(bound)
        bound.reroute()  # the config may have been replaced in this moment
        bound.route.discovery.start()
        self.router.follow_config(bound.route.method.service)

    def add(self, call: SyncDriver, active: Any) -> None:
        """A call is about to begin."""
        active.add(call)
        if self.closed:  # in this moment: whoever closed it may not have seen this call
            self.end(call)

    def end(self, call: SyncDriver) -> None:
        """End a call as the channel is closed."""
        try:
            call.end_with(_CLOSED)
        except Exception:  # one call's trouble is not the others'
            _log.exception("a call did not end in good order")

    def check(self) -> None:
        """Raise what is in the way of a new call."""
        processes.check(self.pid)
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
        self.closed = True
        if os.getpid() != self.pid:
            return
        # All of it each time, as Ctrl-C may have interrupted the one before.
        for call in [*self.active, *self.streams]:
            self.end(call)
        self.connectivity.look()
        self.background.stop(self._end)
        if not self._is_needed_here():
            self.background.ended.wait(within)

    def _is_needed_here(self) -> bool:
        """Whether the channel's end needs this thread: it is the background's, or a signal handler
        has interrupted it while it stepped a plan."""
        return self.background.is_current or any(
            discovery.is_locked_here
            for discovery in self.router.discoveries
            if isinstance(discovery, SyncDiscovery)
        )

    async def _end(self) -> None:
        try:
            await self.router.close()
        finally:
            self.timers.close()
            self.pool.close()
            self.callbacks.close()

    def _reroute(self) -> None:
        for bound in self._bounds:
            bound.reroute()
