"""How a herd would come back if no client had to wait for a core: the registry's own pauses."""

from __future__ import annotations

import random
from collections import Counter

from seawall.registry.etcd.backoff import BRISK, CALM, delay
from seawall.registry.etcd.url import DEFAULT_TTL

LONGEST = (BRISK, 0.5, CALM)
"""The longest pause of a young outage, one between, and that of an old one."""
CYCLES = (1, 5, 20)
JITTERS = (0.8, 0.5)
"""The shortest wait between keep-alives, as a share of the longest: as it is, and wider."""
_SLOT = 0.1
_SEED = 1
_AWAY = 5.0
"""Seconds of outage: by then the pauses are as long as they get."""


def returns(count: int, longest: float) -> dict[str, float]:
    """When ``count`` clients try again, after etcd is back: the most in 100 ms; half; all."""
    chance = random.Random(_SEED).random
    late = []
    for _ in range(count):
        at, tries = 0.0, 0
        while at < _AWAY:
            tries += 1
            at += delay(tries, longest, chance)
        late.append(at - _AWAY)
    late.sort()
    return {"most": _most(late), "half": late[count // 2], "all": late[-1]}


def keep_alive_most(low: float, cycles: int, count: int = 1_000) -> float:
    """Keep-alives of ``count`` leases granted in one moment: the most in 100 ms over the mean.

    Looked at from half a round before round ``cycles`` to half a round after it.
    """
    chance = random.Random(_SEED).random
    longest = DEFAULT_TTL / 3
    mean = longest * (1 + low) / 2
    first, last = (cycles - 0.5) * mean, (cycles + 0.5) * mean
    times = []
    for _ in range(count):
        at = 0.0
        while at < last:
            at += longest * (low + (1 - low) * chance())
            if first <= at < last:
                times.append(at)
    return _most(times) / (count * _SLOT / mean)


def _most(times: list[float]) -> int:
    return max(Counter(int(at / _SLOT) for at in times).values())
