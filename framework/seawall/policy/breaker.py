"""Circuit breaker: stop sending to an endpoint that keeps failing, and find out when it is well."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from seawall.policy.classify import Verdict
from seawall.policy.window import Window
from seawall.records import Record


class State(Enum):
    CLOSED = "closed"
    """Calls go through."""
    OPEN = "open"
    """No call goes through."""
    HALF_OPEN = "half-open"
    """One call at a time goes through, to find out."""


class Signal(Enum):
    TRIPPED = "too many failures, in a row or of the last calls"
    PROBED = "a call goes there to find out"
    PROBE_SUCCEEDED = "the probe was answered"
    PROBE_FAILED = "the probe failed"


TRANSITIONS: Final = {
    (State.CLOSED, Signal.TRIPPED): State.OPEN,
    (State.OPEN, Signal.PROBED): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Signal.PROBE_FAILED): State.OPEN,
}
"""Every move that a breaker can make; anything else is a mistake in this file."""


class BreakerPolicy(Record):
    """When a breaker opens, and for how long."""

    consecutive_failures: int = 5
    open_time: float = 1.0
    """Seconds until the first probe; doubled each time that the probe fails. Short at first (as in
    Linkerd), so that a service whose instances were all ill for a moment is back in a moment."""
    max_open_time: float = 30.0
    failure_ratio: float | None = None
    """Opens also if this part of the calls in ``window`` failed, above 0 and up to 1, in a row or
    not; None = only failures in a row count. Judged at each failure."""
    minimum_calls: int = 20
    """Calls in ``window`` below which the ratio says nothing."""
    window: float = 10.0
    """Seconds that the ratio looks back on; begun anew when the breaker opens."""


class Breaker:
    """The breaker of one endpoint.

    ``on_change(old, new)`` is told when it opens and when it closes again. Between the two it may
    be probed with every call, in vain: that is no news.
    """

    __slots__ = (
        "_early",
        "_on_change",
        "_openings",
        "_policy",
        "_probing",
        "_until",
        "_window",
        "attentive",
        "failures",
        "state",
        "why",
    )

    def __init__(
        self, policy: BreakerPolicy, on_change: Callable[[State, State], None] | None = None
    ) -> None:
        self._policy = policy
        self._on_change = on_change
        self._openings = 0
        self._until = 0.0
        self._probing = False
        self._early = False
        self._window = None if policy.failure_ratio is None else Window(policy.window)
        self.state = State.CLOSED
        self.failures = 0
        """Faults in a row; 0 only while it is closed."""
        self.attentive = self._window is not None
        """Whether a success has anything to tell: else nobody need tell it."""
        self.why = ""
        """What opened it when it was last closed, in words; empty if it has never been open."""

    def admits(self, now: float) -> bool:
        """Whether a call may go to the endpoint now. Changes nothing."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN:
            return now >= self._until
        return not self._probing

    def acquire(self, now: float) -> bool:
        """A call goes there; True if it is the probe, which must be given back by ``release``.

        Whoever picks has asked ``admits`` or ``probeable``: an open breaker is half-open now.
        """
        if self.state is State.CLOSED or self._probing:
            return False
        if self.state is State.OPEN:
            self._early = now < self._until
            self._move(Signal.PROBED)
        self._probing = True
        return True

    @property
    def probeable(self) -> bool:
        """Whether a probe could go there, were the open time over."""
        return not self._probing

    def release(self) -> None:
        """The probe is over, whatever it has shown."""
        self._probing = False

    def succeeded(self, now: float = 0.0) -> None:
        """The endpoint answered a call; ``now`` matters to a failure ratio alone."""
        if self.state is State.OPEN:
            return  # an older call's answer; a probe will tell
        self.failures = 0
        if self._window is None:
            self.attentive = False
        else:
            self._window.good(now)
        if self.state is State.HALF_OPEN:
            self._openings = 0
            self._move(Signal.PROBE_SUCCEEDED)

    def failed(self, now: float) -> None:
        """The endpoint was at fault."""
        self.failures += 1
        self.attentive = True
        if self.state is State.HALF_OPEN:
            self._open(now, Signal.PROBE_FAILED)
        elif self.state is State.CLOSED and self._trips(now):
            self._open(now, Signal.TRIPPED)

    def learn(self, verdict: Verdict, now: float) -> None:
        """Take in what an attempt has shown.

        Only faults count: an instance that says it is overloaded, or that the request is wrong,
        is well. What was never run, and what the caller cancelled, shows nothing.
        """
        if verdict is Verdict.FAULT:
            self.failed(now)
        elif verdict in (Verdict.SUCCESS, Verdict.CALLER, Verdict.OVERLOAD):
            self.succeeded(now)

    def _trips(self, now: float) -> bool:
        """Whether a fault, just counted in ``failures``, is one too many."""
        policy, window = self._policy, self._window
        if window is not None and policy.failure_ratio is not None:
            window.bad(now)
            good, bad = window.counts(now)
            total = good + bad
            if total >= policy.minimum_calls and bad >= policy.failure_ratio * total:
                self.why = f"{bad} of {total} calls in {policy.window:g} s failed"
                return True
        if self.failures >= policy.consecutive_failures:
            self.why = f"{self.failures} in a row failed"
            return True
        return False

    def follow(self, policy: BreakerPolicy) -> None:
        """Go by another policy from now on. An open time that has begun stays as it is."""
        if policy != self._policy:
            self._policy = policy
            self._window = None if policy.failure_ratio is None else Window(policy.window)
            self.attentive = self._window is not None or self.failures > 0

    def _open(self, now: float, signal: Signal) -> None:
        if not self._early:
            self._openings += 1
        self._early = False
        doublings = min(max(self._openings - 1, 0), 30)
        length = min(self._policy.open_time * 2**doublings, self._policy.max_open_time)
        self._until = now + length
        if self._window is not None:
            self._window.clear()
        self._move(signal)

    def _move(self, signal: Signal) -> None:
        old, self.state = self.state, TRANSITIONS[self.state, signal]
        if self._on_change is not None and State.CLOSED in (old, self.state):
            self._on_change(old, self.state)
