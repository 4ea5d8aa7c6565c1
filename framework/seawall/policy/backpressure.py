"""Backpressure: a service that sheds load is sent little more than it takes, class by class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from seawall.call import Call
from seawall.clock import Clock, Random
from seawall.criticality import Criticality
from seawall.events import Event
from seawall.policy.plan import Handler, Layer, Plan
from seawall.policy.throttle import AdaptiveThrottle, Throttle, throttled

COOPERATIVE: Final = AdaptiveThrottle(ratio=1.25, window=2.0, cap=0.95, vouched=True)
"""Heeds those servers that say themselves what they did not run. A refusal costs a Python server
nearly as much as a small answer (measured: 140 of 190 us), so it is the clients that have to keep
back what would be shed; a quarter more than is taken shows soon enough when more is. The window is
short: two seconds after the end of an overload nothing is kept back any more."""


class Backpressure:
    """What one client keeps back from one service: a throttle for each class of calls."""

    __slots__ = ("_throttles", "wary")

    def __init__(
        self, service: str, listener: Callable[[Event], None], policy: AdaptiveThrottle
    ) -> None:
        self._throttles = {each: Throttle(policy, service, listener) for each in Criticality}
        self.wary = False
        """Whether the service has shed something lately; else nothing is counted."""

    def shed(self, call: Call) -> None:
        """The service has shed an attempt of ``call``."""
        self.wary = self._throttles[call.criticality].wary = True

    def throttle(self, call: Call) -> Throttle | None:
        """What keeps calls like this one back; None = nothing does."""
        found = self._throttles[call.criticality]
        if found.wary:
            return found
        self.wary = any(each.wary for each in self._throttles.values())
        return None


def backpressure(state: Backpressure, clock: Clock, random: Random) -> Layer:
    """Keep calls back that the service would only shed. Stands where ``throttle`` does."""

    def layer(inner: Handler) -> Handler:
        return partial(_pressed, state, clock, random, inner)

    return layer


def _pressed(state: Backpressure, clock: Clock, random: Random, inner: Handler, call: Call) -> Plan:
    if not state.wary or (throttle := state.throttle(call)) is None:
        return inner(call)
    return throttled(throttle, clock, random, inner, call)
