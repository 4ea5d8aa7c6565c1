"""A service's endpoints as the policies see them: plain state, changed by whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seawall.call import Endpoint, Instance
from seawall.policy.breaker import State


class Group:
    """The endpoints of one service.

    ``make`` builds the endpoint of an instance that was not known before. ``ready`` is an
    immutable snapshot, replaced when it changes, so that a pick iterates over it freely.
    """

    __slots__ = (
        "_endpoints", "_make", "_problem", "ask", "ready", "resolved", "service", "tripped",
    )  # fmt: skip

    def __init__(self, service: str, make: Callable[[Instance], Endpoint]) -> None:
        self.service = service
        self._make = make
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self.ready: tuple[Endpoint, ...] = ()
        """Those whose connection is up."""
        self.resolved = False
        """Whether the registry has given a list yet, be it empty."""
        self.ask: Callable[[], str | None] = lambda: None
        """Asks the registry what is wrong with it now."""
        self._problem: str | None = None
        self.tripped = 0
        """How many breakers are not closed: 0 saves every pick a look at each of them."""

    @property
    def problem(self) -> str | None:
        """Why there may be no list, in words."""
        return self._problem or self.ask()

    @problem.setter
    def problem(self, words: str | None) -> None:
        self._problem = words

    @property
    def endpoints(self) -> list[Endpoint]:
        """All that the registry lists, connected or not."""
        return list(self._endpoints.values())

    def replace(self, instances: Iterable[Instance]) -> tuple[list[Endpoint], list[Endpoint]]:
        """Take over the registry's list; returns what was added and what was removed.

        Endpoints that stay keep their statistics. One whose facts alone changed is the same.
        """
        self.resolved = True
        listed = {(i.id, i.address): i for i in _newest_at_each_address(instances)}
        removed = [self._endpoints.pop(key) for key in self._endpoints.keys() - listed.keys()]
        added = []
        for key, instance in listed.items():
            known = self._endpoints.get(key)
            if known is None:
                self._endpoints[key] = endpoint = self._make(instance)
                added.append(endpoint)
            else:
                known.instance = instance
        if removed:
            self.ready = tuple(e for e in self.ready if e not in removed)
            self.count_tripped()
        return added, removed

    def count_tripped(self) -> None:
        """A breaker moved: count again."""
        self.tripped = sum(e.breaker.state is not State.CLOSED for e in self._endpoints.values())

    def set_ready(self, endpoint: Endpoint, ready: bool) -> bool:
        """Note whether an endpoint's connection is up; True if that changed anything."""
        if endpoint.ready == ready:
            return False
        endpoint.ready = ready
        endpoint.settled = True
        key = (endpoint.instance.id, endpoint.address)
        if self._endpoints.get(key) is not endpoint:
            return False  # it was removed meanwhile
        if ready:
            self.ready = (*self.ready, endpoint)
        else:
            self.ready = tuple(e for e in self.ready if e is not endpoint)
        return True


def _newest_at_each_address(instances: Iterable[Instance]) -> Iterable[Instance]:
    """A process that was killed and is back on its port is listed twice until its lease ends."""
    newest: dict[str, Instance] = {}
    for instance in instances:
        known = newest.get(instance.address)
        if known is None or _started(instance) >= _started(known):
            newest[instance.address] = instance
    return newest.values()


def _started(instance: Instance) -> float:
    started = instance.metadata.get("started_at")
    return float(started) if isinstance(started, int | float) else 0.0
