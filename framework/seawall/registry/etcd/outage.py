"""One outage, told once at its start and once at its end, whoever notices it."""

from __future__ import annotations

import logging
import time

from seawall.clock import Clock
from seawall.events import Event, RegistryLost, RegistryRegained
from seawall.registry.base import Registry

_log = logging.getLogger(__name__)


class Outage:
    """What is wrong with a registry now, as its parts see it.

    An outage begins with the first part that has a problem and ends when none has one.
    """

    def __init__(self, registry: Registry, clock: Clock = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._problems: dict[object, str] = {}
        self._since = 0.0

    def begin(self, part: object, problem: str) -> None:
        fresh = not self._problems
        self._problems[part] = problem
        self._registry.problem = next(iter(self._problems.values()))
        if fresh:
            self._since = self._clock()
            self.tell(RegistryLost(self._registry.url, problem))

    def end(self, part: object) -> None:
        if self._problems.pop(part, None) is None:
            return
        self._registry.problem = next(iter(self._problems.values()), None)
        if not self._problems:
            self.tell(RegistryRegained(self._registry.url, self._clock() - self._since))

    def tell(self, event: Event) -> None:
        """Tell the registry's listener. What it raises must not stop us: it is logged."""
        try:
            self._registry.listener(event)
        except Exception:
            _log.exception("the listener of %s failed on %r", self._registry.url, event)
