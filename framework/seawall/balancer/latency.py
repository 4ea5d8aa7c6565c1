"""Peak EWMA: an estimate of an endpoint's latency that rises at once and falls slowly."""

from __future__ import annotations

from math import exp

from seawall.clock import Clock

TAU = 1.0
"""Seconds in which the weight of an observation falls to 1/e. Finagle and Linkerd use 10; with
instances that are slow for a second now and then, 1 is better at every load (simulated)."""


class PeakEwma:
    """As in Finagle and Linkerd: a slower answer counts at once, a faster one by its weight.

    Reading lets the estimate decay towards 0, so that an endpoint that was slow is tried again.
    """

    __slots__ = ("_cost", "_stamp")

    def __init__(self) -> None:
        self._cost = 0.0
        self._stamp = 0.0

    def observe(self, latency: float, clock: Clock) -> None:
        """An answer took ``latency`` seconds."""
        now = clock()
        if latency >= self._cost:
            self._cost = latency
        else:
            weight = exp((self._stamp - now) / TAU)
            self._cost = self._cost * weight + latency * (1.0 - weight)
        self._stamp = now

    def read(self, now: float) -> float:
        """The estimate in seconds."""
        return self._cost * exp((self._stamp - now) / TAU)
