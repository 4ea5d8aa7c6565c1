"""Plans: what to do about a call, apart from doing it.

A *plan* is a generator that yields effects and returns an outcome. A *handler* turns a call into a
plan; a *layer* turns a handler into a handler, as Finagle's filters and tower's layers do
("your server as a function"). Drivers perform the effects: the aio driver on an event loop, a
simulator in virtual time. So no policy is written twice, and none can block.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from seawall.call import Call, Endpoint, Failure, Outcome
from seawall.policy.waiting import Waiting


class Send:
    """Send the call to ``endpoint``; the driver answers with the attempt's outcome.

    The driver takes the time that is left and the limit for the attempt from the call.
    """

    __slots__ = ("call", "endpoint")

    def __init__(self, call: Call, endpoint: Endpoint) -> None:
        self.call = call
        self.endpoint = endpoint


class Sleep:
    """Wait for ``seconds``. The answer is None."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Await:
    """Wait until ``on`` wakes those who wait there, ``seconds`` at most.

    None is the service itself: it wakes them when its set of ready endpoints changes. The answer
    is None; whoever yields this looks again.
    """

    __slots__ = ("on", "seconds")

    def __init__(self, seconds: float, on: Waiting | None = None) -> None:
        self.seconds = seconds
        self.on = on


class Linger:
    """Wait for the attempts that were left running (see ``Failure.pending``).

    If one of them is answered, ``LateAnswer`` is thrown in; if all of them fail the answer is None.
    """

    __slots__ = ()


class LateAnswer(Exception):
    """Thrown into a plan at its yield: an attempt that had been left running was answered, or has
    failed in a way that no other attempt could better (``Call.conclusive``)."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Run:
    """Run the user's ``function(*arguments)``, awaiting what it returns if that is awaitable.

    The driver answers with ``Success`` of what it returned, or with a ``Failure`` whose ``error``
    is what it raised. It stands above all attempts, and those that were left running are over.
    """

    __slots__ = ("arguments", "function")

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments


Effect = Send | Sleep | Await | Linger | Run
Plan = Generator[Effect, Any, Outcome]
Handler = Callable[[Call], Plan]
Layer = Callable[[Handler], Handler]


def stack(layers: Iterable[Layer], innermost: Handler) -> Handler:
    """Compose layers, the outermost first, round the innermost handler."""
    handler = innermost
    for layer in reversed(list(layers)):
        handler = layer(handler)
    return handler


def send(call: Call) -> Plan:
    """The innermost handler: send the call where the balancer decided.

    The balance layer yields the effect itself if nothing else stands between.
    """
    endpoint = call.endpoint
    assert endpoint is not None, "the balance layer stands above send and sets the endpoint"
    outcome: Outcome = yield Send(call, endpoint)
    return outcome


def refuse(failure: Failure) -> Plan:
    """A plan that ends at once with ``failure``."""
    return failure
    yield  # pragma: no cover - makes this function a generator
