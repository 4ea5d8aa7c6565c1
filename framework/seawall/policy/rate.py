"""Rate limits: no more than so many calls a second from this client."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome
from seawall.clock import Clock
from seawall.errors import DeadlinePassed, RateLimited
from seawall.policy.plan import Handler, Layer, Plan, Sleep
from seawall.records import Record


class RatePolicy(Record):
    """A token bucket: ``burst`` calls at once, and ``per_second`` on average."""

    per_second: float
    """Above 0."""
    burst: int | None = None
    """Calls that may begin at the same moment after a pause; 1 or more. None = what a second gives,
    and one at least."""
    max_wait: float = 0.0
    """Seconds that a call waits for its turn, at most; 0 = it is refused at once."""


_WHOLE: Final = 1.0 - 1e-6
"""What counts as a whole token: many small refills add up to a little less than they should."""


class _Turn:
    """A token that a call waits for, and that is taken off already."""

    __slots__ = ("given_up",)

    def __init__(self) -> None:
        self.given_up = False


class RateLimit:
    """The limit for the calls that share it. First come, first served.

    Nothing refills the bucket but arithmetic, and its content may be below zero: a call that waits
    has taken its token in advance, and so its turn is fixed when it comes (as in the generic cell
    rate algorithm, ITU-T I.371). In any ``t`` seconds at most ``burst + per_second * t`` calls
    begin.
    """

    __slots__ = ("_burst", "_name", "_policy", "_refilled", "_tokens", "_turns")

    def __init__(self, policy: RatePolicy, name: str) -> None:
        self._policy = policy
        self._name = name
        """What it limits, in words: the service, or the method's path."""
        self._burst = self._tokens = _burst_of(policy)
        self._refilled = float("-inf")
        self._turns: deque[_Turn] = deque()
        """As many as there are tokens below zero, or more by those that have begun."""

    def follow(self, policy: RatePolicy, now: float) -> None:
        """Go by another policy from now on. What has been taken stays taken, and turns that were
        given stay."""
        tokens = self._tokens + (now - self._refilled) * self._policy.per_second
        self._policy, self._burst = policy, _burst_of(policy)
        self._refilled, self._tokens = now, min(tokens, self._burst)

    def take(self, now: float) -> float:
        """Take a token and return 0; or leave it, and return the seconds until there is one."""
        tokens = self._tokens + (now - self._refilled) * self._policy.per_second
        self._refilled = now
        if tokens > self._burst:
            tokens = self._burst
        if tokens >= _WHOLE:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / self._policy.per_second

    def reserve(self) -> _Turn:
        """Take the token that ``take`` has just said there will be."""
        self._tokens -= 1.0
        turns = self._turns
        turns.append(_Turn())
        while len(turns) > 1.0 - self._tokens:
            turns.popleft()  # it has begun
        return turns[-1]

    def give_up(self, turn: _Turn) -> None:
        """The call that waited for a token won't use it.

        The last tokens that were taken in advance are there again if they are given up. One
        before a token that is used lapses: whoever got it would begin too soon after that.
        """
        turn.given_up = True
        turns = self._turns
        while turns and turns[-1].given_up:
            turns.pop()
            self._tokens += 1.0

    def allows(self, wait: float, deadline: float | None, now: float) -> bool:
        """Whether a call may wait so long, and has the time."""
        return wait <= self._policy.max_wait and (deadline is None or now + wait < deadline)

    def refusal(self, wait: float) -> Failure:
        """What a call gets that is refused."""
        policy = self._policy
        # As in ``throttle``: UNAVAILABLE would have whoever is above try again.
        return Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"the rate limit of {self._name} is reached: this client may begin "
            f"{policy.per_second:g} calls a second, and the next one in {wait:.3g} s, longer than "
            f"this one may wait ({policy.max_wait:g} s at most, and its deadline). Call it less, "
            'or raise "perSecond", "burst" or "maxWait" of the service config\'s "rateLimit"',
            sent=False,
            refusal=RateLimited,
        )

    def too_late(self) -> Failure:
        """What a call gets whose time was spent while it waited for its turn."""
        return Failure(
            StatusCode.DEADLINE_EXCEEDED,
            f"the deadline passed while the call waited for its turn at the rate limit of "
            f"{self._name}",
            sent=False,
            refusal=DeadlinePassed,
        )


def _burst_of(policy: RatePolicy) -> float:
    burst = policy.burst
    return float(max(1, int(policy.per_second)) if burst is None else burst)


def rate_limit(state: RateLimit, clock: Clock) -> Layer:
    """Begin calls no faster than ``state`` allows.

    It counts calls, not attempts: how many more there may be is what the retry budget says.
    """

    def layer(inner: Handler) -> Handler:
        return partial(_limited, state, clock, inner)

    return layer


def _limited(state: RateLimit, clock: Clock, inner: Handler, call: Call) -> Plan:
    if state.take(clock()) <= 0.0:
        return inner(call)
    return _delayed(state, clock, inner, call)


def _delayed(state: RateLimit, clock: Clock, inner: Handler, call: Call) -> Plan:
    now = clock()
    wait = state.take(now)
    if wait > 0.0:
        if not state.allows(wait, call.deadline, now):
            return state.refusal(wait)
        turn = state.reserve()
        try:
            yield Sleep(wait)
        except BaseException:  # cancelled by its caller
            state.give_up(turn)
            raise
        if call.deadline is not None and clock() >= call.deadline:
            return state.too_late()  # whoever steps the plans was late itself
    outcome: Outcome = yield from inner(call)
    return outcome
