"""Backpressure: a service that sheds load is sent little more than it takes, class by class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from grpc import StatusCode

from seawall.call import Call, Failure
from seawall.clock import Clock, Random
from seawall.criticality import Criticality
from seawall.errors import Throttled
from seawall.events import Event, ThrottlingEnded, ThrottlingStarted
from seawall.policy.plan import Handler, Layer, Plan, refuse

TURN: Final = 0.15
"""Seconds between two decisions."""
_ENOUGH: Final = 5
"""Attempts that a decision is based on."""
_LONGEST: Final = 1.0
"""Seconds after which fewer of them count as calm."""
_MORE: Final = 1.4
"""Times what the service took that is sent, so that it shows when it takes more."""
_MOST_CUT: Final = 0.7
"""What is left of the rate after a turn, at least: the server finds its measure too, meanwhile."""
_CALM: Final = 0.3
"""Share of refusals up to which more is sent."""
_STEP: Final = 0.05
"""By what part more is sent after a calm turn."""
_PATIENCE: Final = 8
"""Calm turns in a row after which the step is doubled with each further one."""
_MOST_STEP: Final = 0.4
_SLOWLY: Final = 0.15
"""Of the newest turn in what was taken of late, which is sent in any case: a server that works off
a queue takes next to nothing for a moment."""
_LEAST: Final = 2.0
"""Calls a second that are sent: or else nobody would learn that all is well again."""


class _Lane:
    """The calls of one class."""

    __slots__ = (
        "_asked",
        "_calm",
        "_rate",
        "_refused",
        "_sent",
        "_since",
        "_taken",
        "_usual",
        "share",
    )

    def __init__(self, since: float) -> None:
        self.share = 1.0
        """Of the calls that are sent."""
        self._rate: float | None = None
        """Calls a second that are sent; None = all."""
        self._since = since
        self._calm = 0
        self._usual = 0.0
        """Calls a second that were taken, of late."""
        self._asked = self._sent = self._taken = self._refused = 0

    def count(self, started: float, *, taken: bool) -> None:
        """An attempt that began at ``started`` was taken, or refused. What was sent before the
        last decision tells nothing about what that has changed."""
        if started >= self._since:
            self._taken += taken
            self._refused += not taken

    def admits(self, chance: float) -> bool:
        """Whether a call is sent."""
        self._asked += 1
        if chance >= self.share:
            return False
        self._sent += 1
        return True

    def turn(self, now: float) -> bool:
        """Decide anew if it is time to; whether it is all over."""
        past, total = now - self._since, self._taken + self._refused
        if past < TURN or (total < _ENOUGH and past < _LONGEST):
            return False
        taken = self._sent / past * self._taken / max(total, 1)
        self._usual += _SLOWLY * (taken - self._usual) if self._usual else taken
        if total >= _ENOUGH and self._refused > _CALM * total:
            self._calm = 0
            kept = min(1.0, max(_MOST_CUT, _MORE * self._taken / total))
            self._rate = max(_LEAST, self._sent / past * kept, self._usual)
        else:
            self._calm = min(self._calm + 1, 2 * _PATIENCE)
            if self._rate is not None:
                self._rate *= 1.0 + min(_MOST_STEP, _STEP * 2.0 ** max(0, self._calm - _PATIENCE))
        asked = self._asked / past
        self.share = 1.0 if self._rate is None else min(1.0, self._rate / max(asked, _LEAST))
        over = self._calm >= _PATIENCE and self.share >= 1.0 and not self._refused
        self._since = now
        self._asked = self._sent = self._taken = self._refused = 0
        return over


class Backpressure:
    """What one client keeps back from one service.

    A server that sheds says that it did not run a request, and when it may be tried again: only
    such refusals count. One costs a Python server as much as an echo (measured:
    182 us, 167), so it is the clients that have to keep back what would be shed. Of each class so
    many calls a second are sent, evenly, which follows what is taken: some more. When little is
    refused it grows, slowly at first and then faster and faster.
    """

    __slots__ = ("_clock", "_lanes", "_service", "_tell", "_told", "wary")

    def __init__(self, service: str, listener: Callable[[Event], None], clock: Clock) -> None:
        self._service = service
        self._tell = listener
        self._clock = clock
        self._lanes: dict[Criticality, _Lane] = {}
        """Those of which something has been refused lately."""
        self._told = False
        self.wary = False
        """Whether anything is counted."""

    def share(self, criticality: Criticality) -> float:
        """Of the calls of a class that are sent."""
        lane = self._lanes.get(criticality)
        return 1.0 if lane is None else lane.share

    def refused(self, call: Call, started: float) -> None:
        """The service has shed an attempt that began at ``started``."""
        self.wary = True
        lane = self._lanes.get(call.criticality)
        if lane is None:
            lane = self._lanes[call.criticality] = _Lane(started)
        lane.count(started, taken=False)

    def taken(self, call: Call, started: float) -> None:
        """The service has answered an attempt. To be told of while ``wary``."""
        lane = self._lanes.get(call.criticality)
        if lane is not None:
            lane.count(started, taken=True)

    def admits(self, call: Call, chance: float) -> bool:
        """Whether to send a call; ``chance`` is a random number. Asked while ``wary``."""
        lane = self._lanes.get(call.criticality)
        if lane is None:
            return True
        if lane.turn(self._clock()):
            del self._lanes[call.criticality]
            self.wary = bool(self._lanes)
        if lane.share < 1.0 and not self._told:
            self._told = True
            self._tell(ThrottlingStarted(self._service, 1.0 - lane.share))
        elif self._told and not self.wary:
            self._told = False
            self._tell(ThrottlingEnded(self._service))
        return lane.admits(chance)

    def refusal(self, call: Call) -> Failure:
        """What a call gets that is kept back."""
        share, name = self.share(call.criticality), call.criticality.name.lower()
        return Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"kept back, as {self._service} sheds load: it takes {share:.0%} of this client's "
            f"{name} calls. Call it less, give it more instances, or say which calls are sheddable "
            "(seawall.options(criticality=...))",
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
