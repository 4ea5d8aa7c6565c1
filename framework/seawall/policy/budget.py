"""Budgets: how many retries a client may make in all, so that retries never make a storm."""

from __future__ import annotations

from typing import Protocol

from seawall.clock import Clock


class Budget(Protocol):
    """Decides, over all calls to one service, whether one more retry may be made."""

    def request(self) -> None:
        """A call begins."""

    def success(self) -> None:
        """An attempt succeeded."""

    def failure(self) -> None:
        """An attempt failed in a way that could be retried."""

    def available(self) -> bool:
        """Whether ``spend`` would say yes now."""

    def spend(self) -> bool:
        """Take a retry out of the budget; False if there is none left."""

    @property
    def left(self) -> float:
        """How many retries it would allow now."""


class RetryBudget:
    """A token bucket that every call fills a little and every retry empties by one.

    ``ratio`` retries for each call, on average over ``window`` seconds, and ``floor`` retries a
    second whatever the traffic, so that a client that calls rarely can retry at all. As in
    Finagle's ``RetryBudget`` (20 %, 10 a second, 10 s); the ratio of 10 % is that of "Site
    Reliability Engineering", chapter 21.
    """

    __slots__ = ("_capacity", "_clock", "_floor", "_refilled", "_tokens", "ratio")

    def __init__(
        self, clock: Clock, *, ratio: float = 0.1, floor: float = 3.0, window: float = 10.0
    ) -> None:
        self.ratio = ratio
        self._clock = clock
        self._floor = floor
        # Unspent tokens are worth keeping for a burst of faults, but not for a storm: no more
        # than what the floor gives in a window, or a busy client's share, fixed at 100.
        self._capacity = max(floor * window, 100.0 * ratio * window)
        self._tokens = floor * window
        self._refilled = clock()

    def request(self) -> None:
        self._tokens += self.ratio

    def success(self) -> None:
        """Successes neither fill nor empty this budget: requests fill it."""

    def failure(self) -> None:
        """Failures neither fill nor empty this budget: retries empty it."""

    def available(self) -> bool:
        now = self._clock()
        tokens = self._tokens + (now - self._refilled) * self._floor
        self._refilled = now
        self._tokens = tokens if tokens < self._capacity else self._capacity
        return self._tokens >= 1.0

    @property
    def left(self) -> float:
        # Changes nothing: any thread may want to know.
        tokens = self._tokens + (self._clock() - self._refilled) * self._floor
        return min(tokens, self._capacity)

    def spend(self) -> bool:
        if not self.available():
            return False
        self._tokens -= 1.0
        return True


class RetryThrottle:
    """gRPC's own rule, ``retryThrottling`` of the service config (gRFC A6).

    Each retryable failure costs a token, each success gives ``token_ratio`` back, and retries are
    made only while more than half of ``max_tokens`` is there.
    """

    __slots__ = ("_max", "_ratio", "_tokens")

    def __init__(self, max_tokens: float, token_ratio: float) -> None:
        self._max = max_tokens
        self._ratio = token_ratio
        self._tokens = max_tokens

    def request(self) -> None:
        """Calls neither fill nor empty this budget: their outcomes do."""

    def success(self) -> None:
        self._tokens = min(self._max, self._tokens + self._ratio)

    def failure(self) -> None:
        self._tokens = max(0.0, self._tokens - 1.0)

    def available(self) -> bool:
        return self._tokens > self._max / 2

    @property
    def left(self) -> float:
        return max(0.0, self._tokens - self._max / 2)

    def spend(self) -> bool:
        return self.available()
