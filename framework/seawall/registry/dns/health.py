"""What is wrong with the DNS now, told once."""

from __future__ import annotations

import logging
import time

from seawall.clock import Clock
from seawall.events import Event, RegistryLost, RegistryRegained
from seawall.registry.base import Registry

_log = logging.getLogger(__name__)


class Health:
    """Keeps ``registry.problem`` true, and tells when an outage begins and ends.

    An outage is that a name isn't answered for at all. It begins with the first such name and
    ends when there is none; that the DNS denies a name is a problem, but no outage.
    """

    def __init__(self, registry: Registry, clock: Clock = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._problems: dict[object, str] = {}
        self._away: set[object] = set()
        self._since: float | None = None

    def report(self, part: object, problem: str | None, *, away: bool) -> None:
        """Say how ``part`` fares; ``away``: nobody answered it."""
        self._note(part, problem, away=away)
        if self._away and self._since is None:
            self._since = self._clock()
            self.tell(RegistryLost(self._registry.url, self._registry.problem or ""))
        elif not self._away and self._since is not None:
            outage, self._since = self._clock() - self._since, None
            self.tell(RegistryRegained(self._registry.url, outage))

    def forget(self, part: object) -> None:
        """Nobody wants to know any more how ``part`` fares: that is no news."""
        self._note(part, None, away=False)
        if not self._away:
            self._since = None

    def tell(self, event: Event) -> None:
        """Tell the registry's listener. What it raises must not stop us: it is logged."""
        try:
            self._registry.listener(event)
        except Exception:
            _log.exception("the listener of %s failed on %r", self._registry.url, event)

    def _note(self, part: object, problem: str | None, *, away: bool) -> None:
        if problem is None:
            self._problems.pop(part, None)
        else:
            self._problems[part] = problem
        (self._away.add if away else self._away.discard)(part)
        worst = [text for each, text in self._problems.items() if each in self._away]
        self._registry.problem = next(iter(worst or self._problems.values()), None)
