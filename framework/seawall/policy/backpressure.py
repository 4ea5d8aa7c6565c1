"""Backpressure: a method whose servers shed load is sent little more than they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from grpc import StatusCode

from seawall.call import Call, Failure, Method
from seawall.clock import Clock, Random
from seawall.criticality import Criticality
from seawall.errors import Throttled
from seawall.events import Event, ThrottlingEnded, ThrottlingStarted
from seawall.policy.plan import Handler, Layer, Plan, refuse

TURN: Final = 0.15
"""Seconds between two decisions."""
MORE: Final = 1.3
"""Times what was answered that is sent, so that it shows when more is taken. ``K`` of client-side
throttling (Site Reliability Engineering, chapter 21), which is 2 there: a refusal by a Python
server costs it a tenth of a request of 2 ms, so less is better."""
_FEW: Final = 2.0
"""Calls a second that are sent beyond that: or else nobody would learn that all is well again, and
who calls seldom would be judged by chance."""
_GROWTH: Final = 1.2
"""Times what was sent before, at least, if nothing was refused."""
_SLOWLY: Final = 0.15
"""Of the newest turn in what was answered of late. Servers that work off a queue answer next to
nothing for a moment."""
_DOUBT: Final = 5
"""A count of so many weighs half in what is asked for."""
_PATIENCE: Final = 8
"""Turns in a row without a refusal after which it is over."""
_CLASSES: Final = len(Criticality)


class Backpressure:
    """What one client keeps back of one method's calls.

    A server that sheds says that it did not run a request, and when it may be tried again: only
    such refusals count. One costs a Python server as much as an echo (measured: 182 us, 167), so it
    is the clients that have to keep back what would be shed. So many calls a second are sent as
    were answered of late, and some more; the classes share them from the most critical one down.

    In a modelled fleet (2 to 5 times the load of a server that computes; 1 to 100 clients; sent
    and answered with a queue of up to a second between) this carries 85 to 94 % of what the
    server can do. Rates that grow step by step while little is refused swung: by the time at which
    a queue shows, they had doubled.
    """

    __slots__ = (
        "_answered", "_asked", "_calm", "_clock", "_method", "_rate", "_refused", "_seen",
        "_shares", "_since", "_tell", "_told", "_usual", "wary",
    )  # fmt: skip

    def __init__(self, method: Method, listener: Callable[[Event], None], clock: Clock) -> None:
        self._method = method
        self._tell = listener
        self._clock = clock
        self.wary = False
        """Whether anything is counted."""
        self._told = False
        self._begin()

    def _begin(self) -> None:
        self._since = self._clock()
        self._rate = 0.0
        """Calls a second that are sent; 0 = all, as nothing is decided yet."""
        self._usual: float | None = None
        """Calls a second that were answered, of late."""
        self._calm = 0
        """Turns in a row in which nothing was refused."""
        self._seen: list[float | None] = [None] * _CLASSES
        """Calls a second that were asked for of each class, of late."""
        self._shares = [1.0] * _CLASSES
        self._asked = [0] * _CLASSES
        self._answered = self._refused = 0

    def share(self, criticality: Criticality) -> float:
        """Of the calls of a class that are sent."""
        return self._shares[criticality]

    def refused(self) -> None:
        """An attempt was shed."""
        if not self.wary:
            self.wary = True
            self._begin()
        self._refused += 1

    def answered(self) -> None:
        """An attempt was answered, well or not. To be told of while ``wary``."""
        self._answered += 1

    def admits(self, call: Call, chance: float) -> bool:
        """Whether to send a call; ``chance`` is a random number. Asked while ``wary``."""
        now = self._clock()
        if now - self._since >= TURN:
            self._turn(now)
        share = self._shares[call.criticality]
        if share < 1.0 and not self._told:
            self._told = True
            self._tell(ThrottlingStarted(self._method.service, 1.0 - share, self._method.path))
        elif self._told and not self.wary:
            self._told = False
            self._tell(ThrottlingEnded(self._method.service, self._method.path))
        self._asked[call.criticality] += 1
        return chance < share

    def _turn(self, now: float) -> None:
        """Decide anew."""
        past = now - self._since
        answered = self._answered / past
        before = answered if self._usual is None else self._usual
        self._usual = before + _SLOWLY * (answered - before)
        rate = _FEW + MORE * max(answered, self._usual)
        self._calm = 0 if self._refused else self._calm + 1
        self._rate = max(rate, _GROWTH * self._rate) if self._calm else rate
        self._divide(past)
        if self._calm >= _PATIENCE and min(self._shares) >= 1.0:
            self.wary = False
        self._since = now
        self._asked = [0] * _CLASSES
        self._answered = self._refused = 0

    def _divide(self, past: float) -> None:
        left = self._rate
        for each in reversed(Criticality):
            newest = self._asked[each] / past
            before = self._seen[each]
            weight = (self._asked[each] + 1) / (self._asked[each] + 1 + _DOUBT)
            seen = newest if before is None else before + weight * (newest - before)
            self._seen[each] = seen
            self._shares[each] = 1.0 if seen < left else left / seen if seen else 0.0
            left = max(0.0, left - seen)

    def refusal(self, call: Call) -> Failure:
        """What a call gets that is kept back."""
        share, name = self.share(call.criticality), call.criticality.name.lower()
        return Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"kept back, as the servers of {self._method.path} shed load: {share:.0%} of this "
            f"client's {name} calls are sent. Call it less, give it more instances, or say which "
            "calls are sheddable (seawall.options(criticality=...))",
            sent=False,
            refusal=Throttled,
        )


def backpressure(state: Backpressure, random: Random) -> Layer:
    """Keep calls back that the service would only shed. Stands where ``throttle`` does."""

    def layer(inner: Handler) -> Handler:
        return partial(_pressed, state, random, inner)

    return layer


def _pressed(state: Backpressure, random: Random, inner: Handler, call: Call) -> Plan:
    if state.wary and not state.admits(call, random()):
        return refuse(state.refusal(call))
    return inner(call)
