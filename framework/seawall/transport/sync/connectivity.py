"""A sync channel's state, told to whoever has subscribed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from grpc import ChannelConnectivity

from seawall.transport.sync.background import Background

Callback = Callable[[ChannelConnectivity], None]

_log = logging.getLogger("seawall.transport")


@dataclass(eq=False, slots=True)
class _Subscription:
    callback: Callback
    told: ChannelConnectivity | None = None


class Connectivity:
    """Tells each subscriber the state, and each change of it, on the thread for news."""

    def __init__(self, state: Callable[[], ChannelConnectivity], background: Background) -> None:
        self._state = state
        self._background = background
        self._subscriptions: list[_Subscription] = []
        self._lock = threading.RLock()

    def subscribe(self, callback: Callback) -> None:
        with self._lock:
            self._subscriptions.append(_Subscription(callback))
        self._background.tell(self._tell)

    def unsubscribe(self, callback: Callback) -> None:
        """Forget one subscription of ``callback``, if there is one."""
        with self._lock:
            for one in self._subscriptions:
                if one.callback == callback:
                    self._subscriptions.remove(one)
                    return

    def look(self) -> None:
        """The state may have changed. For any thread."""
        if self._subscriptions:
            self._background.tell(self._tell)

    def _tell(self) -> None:
        state = self._state()
        with self._lock:
            due = [one for one in self._subscriptions if one.told is not state]
        for one in due:
            one.told = state
            try:
                one.callback(state)
            except Exception:
                _log.exception("a subscriber to the channel's state failed")
