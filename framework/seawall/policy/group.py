"""A service's endpoints as the policies see them: plain state, changed by whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from seawall.call import Endpoint, Instance, Listing, Update
from seawall.policy.breaker import State
from seawall.policy.subset import Subset, SubsetPolicy

_NEVER = 1e12
"""Seconds since 1970 beyond which nothing is started."""


class Turnover:
    """What an update did to a group's endpoints."""

    __slots__ = ("added", "changed", "removed")

    def __init__(self) -> None:
        self.added: list[Endpoint] = []
        self.removed: list[Endpoint] = []
        self.changed: list[Endpoint] = []
        """Those whose facts are new; connection and statistics are as they were."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Group:
    """The endpoints of one service that are in use, one for each address of its subset.

    ``make`` builds the endpoint of an instance that was not used before; None if it can't be one.
    ``ready`` is an immutable snapshot, replaced when it changes, so that a pick iterates over it
    freely. A change costs as much as there is in it, whatever the number of instances, and
    microseconds for the subset.
    """

    __slots__ = (
        "_at", "_endpoints", "_listed", "_make", "_problem", "_spare", "_subset", "_unusable",
        "ask", "ready", "resolved", "service", "slow_start", "tripped", "warming",
    )  # fmt: skip

    def __init__(
        self,
        service: str,
        make: Callable[[Instance], Endpoint | None],
        subset: Subset | None = None,
    ) -> None:
        self.service = service
        self._make = make
        self._subset = Subset(SubsetPolicy(), service) if subset is None else subset
        self._spare = 0
        """How many more than the subset's size are used, in place of those that are down."""
        self._listed: dict[str, Instance] = {}
        self._at: dict[str, dict[str, Instance]] = {}
        """By address, then by id: who is listed there."""
        self._endpoints: dict[str, Endpoint] = {}
        """By address."""
        self._unusable: set[str] = set()
        """Addresses in use of which no endpoint could be made."""
        self.slow_start = False
        self.warming: set[Endpoint] = set()
        """With slow start, those that are new or back and have to warm up; see ``warmup``."""
        self.ready: tuple[Endpoint, ...] = ()
        """Those that calls may go to: connected, and not paused."""
        self.resolved = False
        """Whether the registry has given a list yet, be it empty."""
        self.ask: Callable[[], str | None] = lambda: None
        """Asks the registry what is wrong with it now."""
        self._problem: str | None = None
        self.tripped: set[Endpoint] = set()
        """Those whose breakers are not closed, and those that are ejected: none saves every pick a
        look at each of them."""

    def __len__(self) -> int:
        """How many instances are listed."""
        return len(self._listed)

    @property
    def problem(self) -> str | None:
        """Why there may be no list, in words."""
        return self._problem or self.ask()

    @problem.setter
    def problem(self, words: str | None) -> None:
        self._problem = words

    @property
    def endpoints(self) -> list[Endpoint]:
        """All that are in use, connected or not: of few instances all, of many the subset."""
        return list(self._endpoints.values())

    def listed(self, ids: Iterable[str]) -> Iterator[Instance]:
        """The instances of these ids that are listed."""
        return (self._listed[id_] for id_ in ids if id_ in self._listed)

    def endpoint_of(self, instance: Instance) -> Endpoint | None:
        """The endpoint that stands for an instance; None if it isn't listed (any more)."""
        endpoint = self._endpoints.get(instance.address)
        return endpoint if endpoint is not None and endpoint.instance.id == instance.id else None

    def apply(self, update: Update) -> Turnover:
        """Take over what the registry says. Endpoints that stay keep their statistics."""
        self.resolved = True
        addresses: dict[str, None] = {}
        if isinstance(update, Listing):
            put: Iterable[Instance] = update.instances
            gone: Iterable[str] = self._listed.keys() - {one.id for one in update.instances}
        else:
            put, gone = update.put, update.left | update.lost
        for id_ in gone:
            if known := self._listed.pop(id_, None):
                self._leave(known, addresses)
        for instance in put:
            known = self._listed.get(instance.id)
            if known == instance:
                continue
            if known is not None:
                self._leave(known, addresses)
            self._listed[instance.id] = instance
            self._at.setdefault(instance.address, {})[instance.id] = instance
            addresses[instance.address] = None
        for address in addresses:
            self._place(address)
        self._spare = self._down
        return self._settle(addresses)

    def compensate(self) -> Turnover:
        """Use more of the instances if some of the subset can't be connected to."""
        if len(self._endpoints) >= len(self._subset) or self._down <= self._spare:
            return Turnover()
        self._spare = self._down
        return self._settle({})

    def resize(self, subset: Subset) -> Turnover:
        """Use another subset from now on."""
        self._subset = subset
        self._spare = min(self._spare, subset.size)
        for address in self._at:
            self._place(address)
        return self._settle({})

    @property
    def _down(self) -> int:
        """How many in use can't be connected to; no more are made up for than the subset has."""
        down = sum(e.settled and not e.ready for e in self._endpoints.values())
        return min(down, self._subset.size)

    def trip(self, endpoint: Endpoint) -> None:
        """An endpoint's breaker moved, or it was ejected, or taken back."""
        well = endpoint.breaker.state is State.CLOSED and not endpoint.ejected
        if not well and self._stands(endpoint):
            self.tripped.add(endpoint)
        elif endpoint in self.tripped:
            self.tripped.discard(endpoint)
            self._warm(endpoint)

    def set_ready(self, endpoint: Endpoint, ready: bool) -> bool:
        """Note whether an endpoint's connection is up; True if that changed anything."""
        if endpoint.ready == ready:
            return False
        endpoint.ready = ready
        endpoint.settled = True
        if not self._stands(endpoint):
            return False  # it was removed meanwhile
        self._offer(endpoint)
        if ready:
            self._warm(endpoint)
        return True

    def _warm(self, endpoint: Endpoint) -> None:
        if self.slow_start:
            endpoint.since = None
            self.warming.add(endpoint)

    def _leave(self, instance: Instance, addresses: dict[str, None]) -> None:
        there = self._at[instance.address]
        del there[instance.id]
        if not there:
            del self._at[instance.address]
        addresses[instance.address] = None

    def _place(self, address: str) -> None:
        """Have the subset know who is at an address now."""
        newest = self._newest(address)
        if newest is None:
            self._subset.remove(address)
        else:
            self._subset.put(address, newest.metadata)

    def _newest(self, address: str) -> Instance | None:
        """A process that was killed and is back on its port is listed twice for a while."""
        there = self._at.get(address)
        return max(reversed(there.values()), key=_started) if there else None

    def _settle(self, changed: dict[str, None]) -> Turnover:
        """Have an endpoint for the newest instance at each address of the subset."""
        turnover = Turnover()
        used = self._subset.first(self._subset.size + self._spare)
        stale = (address for address in self._endpoints if address not in used)
        known = self._endpoints.keys() | self._unusable
        fresh = (address for address in used if address not in known)
        for address in {**changed, **dict.fromkeys(stale), **dict.fromkeys(fresh)}:
            self._unusable.discard(address)
            newest = self._newest(address) if address in used else None
            endpoint = self._endpoints.get(address)
            if endpoint and newest and _same_process(endpoint.instance, newest):
                if endpoint.instance != newest:
                    endpoint.learn(newest)
                    turnover.changed.append(endpoint)
                continue
            if endpoint is not None:
                del self._endpoints[address]
                turnover.removed.append(endpoint)
            made = None if newest is None else self._make(newest)
            if made is not None:
                self._endpoints[address] = made
                turnover.added.append(made)
            elif newest is not None:
                self._unusable.add(address)
        self._withdraw(turnover.removed)
        for endpoint in turnover.changed:
            self._offer(endpoint)
        moved = self._stand_for(used)
        if moved or not set(turnover.changed).isdisjoint(self.ready):
            # Another snapshot: balancers keep what they worked out from the old facts with it.
            self.ready = (*self.ready,)
        return turnover

    def _stand_for(self, used: Mapping[str, float]) -> bool:
        """Note how many each endpoint stands for; whether that is news about any."""
        moved = False
        for address, endpoint in self._endpoints.items():
            if endpoint.stands_for != used[address]:
                endpoint.stands_for = used[address]
                moved = True
        return moved

    def _withdraw(self, removed: list[Endpoint]) -> None:
        if not removed:
            return
        gone = set(removed)
        self.tripped -= gone
        self.warming -= gone
        if not gone.isdisjoint(self.ready):
            self.ready = tuple(e for e in self.ready if e not in gone)

    def _offer(self, endpoint: Endpoint) -> None:
        """Have it among those that calls may go to, if they may."""
        offered, wanted = endpoint in self.ready, endpoint.ready and not endpoint.paused
        if wanted and not offered:
            self.ready = (*self.ready, endpoint)
        elif offered and not wanted:
            self.ready = tuple(e for e in self.ready if e is not endpoint)

    def _stands(self, endpoint: Endpoint) -> bool:
        return self._endpoints.get(endpoint.address) is endpoint


def _started(instance: Instance) -> float:
    started = instance.metadata.get("started_at")
    usable = isinstance(started, int | float) and 0 <= started < _NEVER
    return float(started) if usable else 0.0  # type: ignore[arg-type]


def _same_process(one: Instance, other: Instance) -> bool:
    """Whether it has not been restarted: an id may be its user's own, and the same again."""
    return one.id == other.id and _started(one) == _started(other)
