"""How long work takes: distributions to draw service times from."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

Distribution = Callable[[Random], float]
"""Draws seconds from a source of chance."""

_DIGITS = 9
"""Draws are rounded to nanoseconds: C libraries differ in the last bit of a logarithm."""


def fixed(seconds: float) -> Distribution:
    """Always the same. Raises ValueError if it is negative."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a service time must be 0 or more seconds, not {seconds!r}")
    return lambda random: seconds


def gamma(mean: float, cv: float = 1.0) -> Distribution:
    """Gamma-distributed with this mean and coefficient of variation (standard deviation / mean).

    ``cv=1`` is the exponential distribution of queueing theory. Raises ValueError unless both are
    above zero.
    """
    _check(mean, cv)
    shape = 1.0 / cv**2
    scale = mean / shape
    if cv == 1:
        return lambda random: round(-math.log(1.0 - random.random()) * mean, _DIGITS)
    return lambda random: round(random.gammavariate(shape, scale), _DIGITS)


def lognormal(mean: float, cv: float = 1.0) -> Distribution:
    """Lognormal with this mean and coefficient of variation: a longer tail than ``gamma``.

    Raises ValueError unless both are above zero.
    """
    _check(mean, cv)
    variance = math.log(1.0 + cv**2)
    mu, sigma = math.log(mean) - variance / 2, math.sqrt(variance)
    return lambda random: round(random.lognormvariate(mu, sigma), _DIGITS)


def interarrival(random: Random, rate: float) -> float:
    """Seconds until the next event of a Poisson process of ``rate`` events a second."""
    return round(-math.log(1.0 - random.random()) / rate, _DIGITS)


def _check(mean: float, cv: float) -> None:
    if not (0 < mean < math.inf and 0 < cv < math.inf):
        raise ValueError(f"mean and cv must be above zero, not {mean!r} and {cv!r}")
