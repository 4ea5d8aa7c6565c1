"""Client adaptive throttling: don't send what an overloaded service would only refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome
from seawall.clock import Clock, Random
from seawall.errors import Throttled
from seawall.events import Event, ThrottlingEnded, ThrottlingStarted, ignore
from seawall.policy.classify import Verdict, classify
from seawall.policy.plan import Handler, Layer, Plan
from seawall.policy.window import Window
from seawall.records import Record

_REFUSED = (Verdict.OVERLOAD, Verdict.REFUSED)
_SILENT = (Verdict.CANCELLED, Verdict.UNTOLD)


class AdaptiveThrottle(Record):
    """How many calls a client keeps back while a service refuses many as overload.

    "Site Reliability Engineering", chapter 21: of ``requests`` in the window, of which ``accepts``
    were taken by the service, a call is kept back with the probability
    ``(requests - ratio * accepts) / (requests + 1)``. Both here count calls, not attempts.
    """

    ratio: float = 2.0
    """K: calls that are let through for each that the service takes; 1 or more. 2 is the book's:
    the service refuses about one for each that it serves, and so shows when it is well again.
    Simulated in a retry storm, 1.5 over 10 s recovered 9 s later than 2 over 30 s."""
    window: float = 30.0
    """Seconds that are looked back on. The book has 120: the longer, the longer calls are kept back
    when the service is well again."""
    cap: float = 0.9
    """The most that is kept back, as a probability below 1: without the rest nobody would notice
    that the service is well again."""
    allowance: int = 5
    """Refusals in a window for which nothing is kept back yet (go-zero's first 5), so that one
    refusal doesn't cost a client that calls rarely half of its calls."""


class Throttle:
    """The throttle of one client for one service; all its calls share it.

    Refusals of the service are answers that it is overloaded (RESOURCE_EXHAUSTED), or that it did
    not run the call and wants it later (``grpc-retry-pushback-ms``). A fault is not one: whoever
    breaks is the breaker's business, and a timeout doesn't tell whether the call was taken. What
    was given up, and what other layers refused here, tells nothing.
    """

    __slots__ = ("_policy", "_refused_at", "_service", "_tell", "_window", "wary")

    def __init__(
        self, policy: AdaptiveThrottle, service: str, listener: Callable[[Event], None] = ignore
    ) -> None:
        self._policy = policy
        self._service = service
        self._tell = listener
        self._window = Window(policy.window)
        self._refused_at: float | None = None
        """When a call was last kept back; None if that is so long ago that it is over."""
        self.wary = False
        """Whether the service may have refused a call in the window; else all may go."""

    def probability(self, now: float) -> float:
        """That a call is kept back now: from 0 to ``cap``."""
        return self._probability(*self._window.counts(now))

    def _probability(self, accepts: int, refusals: int) -> float:
        policy = self._policy
        excess = refusals - policy.allowance - (policy.ratio - 1.0) * accepts
        if excess <= 0.0:
            return 0.0
        return min(policy.cap, excess / (accepts + refusals + 1))

    def refuses(self, now: float, chance: float) -> bool:
        """Whether to keep a call back; ``chance`` is a random number. Asked while ``wary``."""
        accepts, refusals = self._window.counts(now)
        probability = self._probability(accepts, refusals)
        since = self._refused_at
        if since is not None and now - since >= self._policy.window:
            since = self._refused_at = None
            self._tell(ThrottlingEnded(self._service))
        if chance >= probability:
            self.wary = refusals > 0 or since is not None
            return False
        # The book counts what is kept back among the requests: so the service goes on to get
        # ``ratio`` times what it takes, however much more there is.
        self._window.bad(now)
        if since is None:
            self._tell(ThrottlingStarted(self._service, probability))
        self._refused_at = now
        return True

    def end(self) -> None:
        """Another takes its place."""
        if self._refused_at is not None:
            self._refused_at = None
            self._tell(ThrottlingEnded(self._service))

    def learn(self, outcome: Outcome, now: float) -> None:
        """Take in how a call ended that was let through."""
        if outcome.ok:
            self._window.good(now)
            return
        if outcome.refusal is not None or not outcome.sent:
            return
        verdict = classify(outcome)
        if verdict in _REFUSED:
            self._window.bad(now)
            self.wary = True
        elif verdict not in _SILENT:
            self._window.good(now)

    def refusal(self, now: float) -> Failure:
        """What a call gets that is kept back.

        RESOURCE_EXHAUSTED, as the service itself would answer: UNAVAILABLE would have whoever
        is above try again, which is what an overloaded service needs least.
        """
        accepts, refusals = self._window.counts(now)
        return Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"kept back, as {self._service} is overloaded: of {accepts + refusals} calls in the "
            f"last {self._policy.window:g} s it took {accepts}. Call it less, or give it more "
            'instances; "adaptiveThrottling" of the service config says when calls are kept back',
            sent=False,
            refusal=Throttled,
        )


def throttle(state: Throttle, clock: Clock, random: Random) -> Layer:
    """Keep calls back as ``state`` says.

    Above the rate limit and the bulkhead, as a call that is kept back needs no place there, and
    above retry, as a call that is kept back must not be tried again.
    """

    def layer(inner: Handler) -> Handler:
        return partial(_throttled, state, clock, random, inner)

    return layer


def _throttled(state: Throttle, clock: Clock, random: Random, inner: Handler, call: Call) -> Plan:
    if state.wary:
        now = clock()
        if state.refuses(now, random()):
            return state.refusal(now)
    outcome: Outcome = yield from inner(call)
    # Counted at its end: calls that are under way have been neither taken nor refused yet, and
    # a burst of them would look like so many refusals.
    state.learn(outcome, clock())
    return outcome
