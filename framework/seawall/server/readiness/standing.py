"""Whether a service is ready: decided from what it requires, its own check, and its user's pause.

No event loop here: ``watch`` asks and announces.

A service that is not ready is announced as paused, and says in a further fact what it waits for.
Two services that require each other would so wait for each other for ever. Therefore the fact says
the whole way to what is missing, as in ``Catalog > Prices``: a wait whose way leads back to the
service itself is none, and both become ready. Ways rather than the names of what is missing in the
end, as a name would be passed round for ever between those who heard it from each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

from seawall.call import JSON, PAUSED
from seawall.records import Record

Way = tuple[str, ...]
"""From a required service that isn't ready to the one at which it fails."""

WAITS_FOR: Final = "waits_for"
"""The fact that says what an instance waits for: a list of ways. Only while it is paused for that
reason alone."""

AWAY_FOR: Final = 1.0
"""Seconds for which something must be missing before it counts. A connection that breaks is back
within that, and an instance that leaves has a successor; what a client does without for less is
for its retries to mend."""

_MOST_WAYS: Final = 8
_LONGEST: Final = 16
_LONGEST_NAME: Final = 256


class Seen(Protocol):
    """An instance of a required service, as ``Endpoint`` shows it."""

    @property
    def ready(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    @property
    def waits_for(self) -> JSON: ...


class Standing(Record):
    """Why a service takes no calls, if it doesn't."""

    paused: bool = False
    """Its user has paused it."""
    lacks: tuple[Way, ...] = ()
    """What it requires and hasn't."""
    problem: str = ""
    """Why its own check says no."""

    @property
    def ready(self) -> bool:
        """Whether it could take calls; its user may have paused it all the same."""
        return not self.lacks and not self.problem

    @property
    def away(self) -> bool:
        """Whether it takes none."""
        return self.paused or not self.ready

    @property
    def reason(self) -> str:
        """Why it isn't ready, in words."""
        reasons = [describe(way) for way in self.lacks]
        if self.problem:
            reasons.append(self.problem)
        return "; ".join(reasons)

    @property
    def facts(self) -> dict[str, JSON]:
        """What is announced of it; None = nothing."""
        told = self.lacks and not self.paused and not self.problem
        ways: list[JSON] = [list(way) for way in self.lacks]
        return {PAUSED: True if self.away else None, WAITS_FOR: ways if told else None}


def lacks(required: Iterable[tuple[str, Sequence[Seen]]], own: Collection[str]) -> tuple[Way, ...]:
    """The ways to what is missing: for each required service, given with its instances, none if
    one of these takes calls, or waits for nothing but the services ``own`` itself."""
    found: list[Way] = []
    for service, instances in required:
        nothing: tuple[Way, ...] = ((service,),)
        choices = [nothing, *(_ways(service, each, own) for each in instances)]
        choices.sort(key=_rank)
        found += choices[0]
    return tuple(found[:_MOST_WAYS])


def _rank(ways: tuple[Way, ...]) -> tuple[bool, int]:
    """First an instance that can be called; of the others one that says what it waits for, as a
    dead one may stand in the list for a while."""
    return any(len(way) == 1 for way in ways), len(ways)


def _ways(service: str, instance: Seen, own: Collection[str]) -> tuple[Way, ...]:
    """From a required service to what one instance of it waits for; empty = it can be called, or
    will be as soon as ``own`` can."""
    if not instance.ready:
        return ((service,),)
    if not instance.paused:
        return ()
    told = _read(instance.waits_for)
    if told is None:  # it is paused for a reason of its own
        return ((service,),)
    return tuple((service, *way)[:_LONGEST] for way in told if own_free(way, own))


def own_free(way: Way, own: Collection[str]) -> bool:
    """Whether a way doesn't lead through the services ``own``."""
    return not any(name in own for name in way)


def _read(fact: JSON) -> list[Way] | None:
    """What an instance says that it waits for; None = nothing that makes sense."""
    if not isinstance(fact, list) or not 0 < len(fact) <= _MOST_WAYS:
        return None
    ways: list[Way] = []
    for entry in fact:
        if not isinstance(entry, list) or not 0 < len(entry) <= _LONGEST:
            return None
        names = [name for name in entry if isinstance(name, str) and len(name) <= _LONGEST_NAME]
        if len(names) < len(entry):
            return None
        ways.append(tuple(names))
    return ways


def describe(way: Way) -> str:
    """A way in words."""
    first, *others = way
    if not others:
        return f"no instance of {first} takes calls"
    return f"{first} waits for {' > '.join(others)}"


class Gate:
    """Makes up its mind slowly that a service is not ready, and at once that it is again."""

    def __init__(self, ready: bool) -> None:
        self.ready = ready
        self._since: float | None = None

    def see(self, ready: bool, now: float) -> bool:
        """Take in what is seen now; returns whether the service counts as ready."""
        if ready:
            self._since, self.ready = None, True
        else:
            if self._since is None:
                self._since = now
            if now - self._since >= AWAY_FOR:
                self.ready = False
        return self.ready

    def due(self, now: float) -> float | None:
        """Seconds after which it must be asked again, though nothing changes; None = never."""
        if self._since is None or not self.ready:
            return None
        return max(0.0, self._since + AWAY_FOR - now)
