"""The gate: how many requests a second are taken on, where nobody knows how many are too many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from seawall.admission.estimate import TARGETS
from seawall.criticality import Criticality

WINDOW: Final = 0.1
"""Seconds between two decisions; Envoy's adaptive concurrency decides as often."""

_QUIET: Final = 20
"""Windows without anything shed after which the gate stands open."""
_SMOOTHED: Final = 0.7
"""Of the newest window in the estimate of what arrives of each class."""
_FEW: Final = 0.1
"""Requests a window of a class that make no difference."""
_STANDING: Final = 0.005
"""Seconds of the least wait in a window above which there was a queue all the time."""
_DOUBTFUL: Final = 0.2
"""Of the newest window in what can be done, if it is less than was known."""
_CLASSES: Final = len(Criticality)


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """When a server sheds, and how fast it reacts.

    In a modelled server (tests/admission) that has 2 and 5 times the load that it can carry, these
    carry all that it can do, and so do the 26 neighbours that were tried. AIMD, which cuts the rate
    by a part and adds a part, carried 84 to 95 % with the best of 36 settings.
    """

    targets: Mapping[Criticality, float] = field(default_factory=lambda: TARGETS)
    """Seconds that a request of each class may wait before its handler begins."""
    drain: float = 0.25
    """Seconds in which what waits too long is to be worked off, or room to be filled."""
    most_cut: float = 0.5
    """The most by which the rate is below what can be done."""
    most_more: float = 0.1
    """The most by which it is above."""
    slowest: float = 0.85
    """What is left of the rate after a window, at least: if requests wait for another reason than
    each other, as on a starved machine, shedding does not help, and must not go to the bottom."""
    increase: float = 0.06
    """By what part the rate grows after a window in which nothing waited; doubled by each further
    one in a row."""
    headroom: float = 1.25
    """Times what can be done, as far as that is known, or what is taken on: the rate is no more, so
    that clients that come back all at once find the gate where they left it."""
    patience: int = 3
    """Windows in a row with too long a wait before anything is shed: what blocks the event loop for
    a moment is no overload."""
    few: int = 5
    """Requests that make no queue. What waits behind fewer waits for something else, a starved
    machine or a blocked event loop, which shedding would not mend."""
    least: float = 10.0
    """Requests a second that are taken on in any case: or else nobody would learn that all is
    well again."""


class Gate:
    """Sheds requests, the least critical first, while they wait too long for their handlers.

    It begins when even the *least* wait of three windows (a queue that stands, as in CoDel, and not
    a burst) is above the target of the class that would be shed next. What is taken on while a
    queue stands is what can be done: that rate is let in from then on, a little less or more to
    bring the wait to its target. The classes share it from the most critical one down, as in DAGOR
    (SoCC 2018): one class at most is shed in part.
    """

    __slots__ = (
        "_admitted", "_arrived", "_capacity", "_carry", "_idle", "_over", "_policy", "_quiet",
        "_seen", "_share", "_shed", "_since", "_wait", "rate", "shedding", "wait",
    )  # fmt: skip

    def __init__(self, policy: GatePolicy, now: float) -> None:
        self._policy = policy
        self.shedding = False
        """Whether ``admits`` has to be asked."""
        self.rate: float | None = None
        """Requests a second that are taken on; None = all."""
        self.wait = 0.0
        """The least wait of the last window, in seconds."""
        self._since = now
        self._capacity = 0.0
        """Requests a second that can be worked on, as far as it is known."""
        self._over = self._idle = self._quiet = 0
        """Windows in a row: with too long a wait, without a queue, with nothing shed."""
        self._wait: float | None = None
        self._arrived = [0] * _CLASSES
        self._seen = [0.0] * _CLASSES
        """Requests of each class a window, smoothed."""
        self._share = [1.0] * _CLASSES
        """Of each class that is taken on."""
        self._carry = [0.0] * _CLASSES
        self._admitted = 0
        self._shed = 0

    def arrived(self, criticality: Criticality) -> None:
        """A request has come in: to be told of each while the gate stands open."""
        self._arrived[criticality] += 1
        self._admitted += 1

    def admits(self, criticality: Criticality) -> bool:
        """Whether to take a request on, while ``shedding``: a share of each class, evenly."""
        self._arrived[criticality] += 1
        carry = self._carry[criticality] + self._share[criticality]
        if carry < 1.0:
            self._carry[criticality] = carry
            self._shed += 1
            return False
        self._carry[criticality] = carry - 1.0
        self._admitted += 1
        return True

    def waited(self, seconds: float, behind: int, *, arrived: bool = True) -> None:
        """A probe has waited that long before its handler began, ``behind`` so many requests;
        or, if it has not ``arrived``, that long and behind so many so far."""
        if behind < self._policy.few:
            if not arrived:
                return
            seconds = 0.0  # whatever it waited for, it was not them
        if self._wait is None or seconds < self._wait:
            self._wait = seconds

    def turn(self, now: float) -> None:
        """End a window: decide for the next one. To be called each ``WINDOW`` seconds or so."""
        span = now - self._since
        if span <= 0.0:
            return
        self._since = now
        if self._wait is not None:
            self.wait = self._wait
            self._adapt(self._admitted / span)
        for each in range(_CLASSES):
            newest = self._arrived[each] * WINDOW / span
            self._seen[each] += _SMOOTHED * (newest - self._seen[each])
        self._divide()
        self._wait = None
        self._arrived = [0] * _CLASSES
        self._admitted = self._shed = 0

    def _adapt(self, taken: float) -> None:
        """Change the rate; ``taken`` a second were taken on in this window."""
        policy, standing = self._policy, self.wait > _STANDING
        excess = self.wait - policy.targets[self._marginal()]
        self._over = self._over + 1 if excess > 0.0 else 0
        self._idle = 0 if standing else min(self._idle + 1, _QUIET)
        if standing:  # there was always work: so this is what can be done
            known = self._capacity or taken
            # Less than was known may be all that has come, unless the wait says that it is not.
            weight = _SMOOTHED if taken > known else _DOUBTFUL if excess > 0.0 else 0.0
            self._capacity = known + weight * (taken - known)
        elif self.rate is None:
            self._capacity = 0.0
        if self.rate is None and self._over < policy.patience:
            return
        if standing:
            more = min(max(-excess / policy.drain, -policy.most_cut), policy.most_more)
            before = policy.least if self.rate is None else min(self.rate, 1.1 * self._capacity)
            slowest = before * policy.slowest
            self.rate = max(policy.least, slowest, self._capacity * (1.0 + more))
        elif self.rate is not None:
            more = self.rate * (1.0 + min(policy.increase * 2.0 ** (self._idle - 1), 1.0))
            self.rate = min(more, policy.headroom * max(taken, self._capacity, policy.least))
        self._quiet = 0 if self._shed or excess > 0.0 else self._quiet + 1
        if self._quiet >= _QUIET:
            self.rate = None

    def _marginal(self) -> Criticality:
        """The class that is to be shed next: the least critical one of which any are taken on."""
        for each in Criticality:
            if self._share[each] > 0.0 and (self._arrived[each] or self._seen[each] > _FEW):
                return each
        return Criticality.CRITICAL

    def _divide(self) -> None:
        self.shedding = self.rate is not None
        if self.rate is None:
            return
        left = self.rate * WINDOW
        for each in reversed(Criticality):
            seen = self._seen[each]
            self._share[each] = 1.0 if seen <= left else left / seen
            left = max(0.0, left - seen)
