"""From the registry's lists to connected endpoints, for one service of a sync channel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from seawall.call import Endpoint, Instance, Update
from seawall.config import ServiceConfig
from seawall.policy.group import Turnover
from seawall.policy.waiting import Waiting
from seawall.transport.connection import Connection
from seawall.transport.discovery import Discovery
from seawall.transport.sync.background import Background
from seawall.transport.sync.connection import SyncConnection


class SyncDiscovery(Discovery):
    """The same discovery, on the background's event loop, and under a lock whenever it changes
    what plans look at. Plans are stepped under ``lock`` by any thread."""

    def __init__(self, background: Background, told: Callable[[], None], *facts: Any) -> None:
        self.lock = threading.RLock()
        self._background = background
        self._begun = False
        super().__init__(*facts)
        self.waiting = _Guarded(self.lock, told)

    @property
    def is_locked_here(self) -> bool:
        """Whether this thread holds the lock."""
        owned: bool = self.lock._is_owned()  # type: ignore[attr-defined]  # as Condition asks it
        return owned

    def start(self) -> None:
        """Begin to watch, once. For any thread."""
        if not self._begun:
            self._begun = True
            self._background.do(super().start)

    def reconfigure(self, config: ServiceConfig) -> None:
        with self.lock:
            super().reconfigure(config)

    def _apply(self, update: Update) -> None:
        with self.lock:
            super()._apply(update)

    def _took(self, turnover: Turnover) -> None:
        with self.lock:
            super()._took(turnover)

    def _on_state(self, endpoint: Endpoint, ready: bool, problem: str | None) -> None:
        with self.lock:
            super()._on_state(endpoint, ready, problem)

    def _dial(self, instance: Instance, on_state: Callable[[bool, str | None], None]) -> Connection:
        return SyncConnection(instance, on_state, self._credentials, self.lock)


class _Guarded(Waiting):
    """Where calls wait for an instance; ``told`` hears of each change, too."""

    __slots__ = ("_lock", "_told")

    def __init__(self, lock: threading.RLock, told: Callable[[], None]) -> None:
        super().__init__()
        self._lock = lock
        self._told = told

    def wake(self) -> None:
        with self._lock:
            super().wake()
        self._told()
