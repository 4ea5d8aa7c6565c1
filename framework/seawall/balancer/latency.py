"""Peak EWMA: an estimate of an endpoint's latency that rises at once and falls slowly."""

from __future__ import annotations

from math import exp, log

TAU = 1.0
"""Seconds in which the weight of an observation falls to 1/e. Finagle and Linkerd use 10; with
instances that are slow for a second now and then, 1 is better at every load (simulated)."""

_LEAST = 1e-6
"""Seconds; nothing is answered faster, and the logarithm needs something above zero."""


class PeakEwma:
    """As in Finagle and Linkerd: a slower answer counts at once, a faster one by its weight.

    With time the estimate decays towards 0, so that an endpoint that was slow is tried again.
    """

    __slots__ = ("_cost", "_stamp", "rank")

    def __init__(self) -> None:
        self._cost = 0.0
        self._stamp = 0.0
        self.rank = float("-inf")
        """Orders estimates as ``read`` does at any one time, and costs a pick nothing: as all
        decay at the same rate, comparing cost * exp((stamp - now) / TAU) is comparing
        log(cost) + stamp / TAU."""

    def observe(self, latency: float, now: float) -> None:
        """An answer has just come that took ``latency`` seconds."""
        if latency < self._cost:
            weight = exp((self._stamp - now) / TAU)
            latency = self._cost * weight + latency * (1.0 - weight)
        self._cost = latency
        self._stamp = now
        self.rank = log(latency if latency > _LEAST else _LEAST) + now / TAU

    @property
    def usual(self) -> float:
        """The estimate in seconds as it was after the last observation."""
        return self._cost

    def suspend(self, seconds: float) -> None:
        """Have ``rank`` stay behind for ``seconds`` more, or until the next observation."""
        self.rank += seconds / TAU

    def read(self, now: float) -> float:
        """The estimate in seconds."""
        return self._cost * exp((self._stamp - now) / TAU)
