"""Outlier detection: leave out instances that fail more than the others do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import fsum, inf, sqrt
from typing import Final

from seawall.call import Endpoint
from seawall.clock import Clock, Random
from seawall.events import EndpointEjected, EndpointReturned, Event, ignore
from seawall.policy.classify import Verdict
from seawall.policy.group import Group
from seawall.records import Record

MOST_EJECTED: Final = 0.5
"""The part of the connected instances above which none is ejected, whatever the policy says. When
most look ill it is not they that are; and the balance layer would ignore the ejections anyway."""

_ROUNDING: Final = 1e-9
"""Success rates that differ by less are equal: the mean of equal numbers may be above each."""

_ANSWERED: Final = (Verdict.SUCCESS, Verdict.CALLER, Verdict.OVERLOAD)


class SuccessRateEjection(Record):
    """Eject those whose success rate is far below that of the others (gRFC A50).

    Below ``mean - stdev * stdev_factor / 1000``, of the rates of all that had enough calls.
    """

    stdev_factor: int = 1900
    """In thousandths."""
    enforcement_percentage: int = 100
    """How many of the outliers are ejected, by chance."""
    minimum_hosts: int = 5
    """Instances that must have had ``request_volume`` calls; with fewer none is ejected."""
    request_volume: int = 100
    """Calls in an interval below which an instance isn't judged."""


class FailurePercentageEjection(Record):
    """Eject those of whose calls more than ``threshold`` per cent failed (gRFC A50)."""

    threshold: int = 85
    enforcement_percentage: int = 100
    """How many of the outliers are ejected, by chance."""
    minimum_hosts: int = 5
    """Instances that must have had ``request_volume`` calls; with fewer none is ejected."""
    request_volume: int = 50
    """Calls in an interval below which an instance isn't judged."""


class OutlierPolicy(Record):
    """gRPC's ``outlier_detection`` with its defaults (gRFC A50). Times are in seconds."""

    interval: float = 10.0
    """Between two judgements."""
    base_ejection_time: float = 30.0
    """How long the first ejection lasts; the second in short order lasts twice as long, and so on:
    each interval that an instance is not ejected makes up for one."""
    max_ejection_time: float = 300.0
    """How long an ejection lasts at most, or ``base_ejection_time`` if that is more."""
    max_ejection_percent: int = 10
    """While so many of the connected instances are ejected no other is; so it may be one more,
    and of a few instances one. Never more than half, whatever it says; 0 = none at all."""
    success_rate: SuccessRateEjection | None = None
    """None = not judged so."""
    failure_percentage: FailurePercentageEjection | None = None
    """None = not judged so."""


class Tally:
    """What outlier detection knows of an endpoint; it stands in the endpoint's ``tally``."""

    __slots__ = ("bad", "ejected_at", "good", "multiplier")

    def __init__(self) -> None:
        self.good = 0
        """Calls that it answered in this interval, be it with the caller's error."""
        self.bad = 0
        """Calls in this interval at whose failure it was at fault."""
        self.ejected_at = 0.0
        """When it was ejected, if it is."""
        self.multiplier = 0
        """How many base times its next ejection lasts, less one."""

    @property
    def volume(self) -> int:
        return self.good + self.bad

    @property
    def rate(self) -> float:
        return self.good / (self.good + self.bad)


Judged = tuple[Endpoint, Tally]


class Outliers:
    """Outlier detection for one service.

    Has no timer: it judges when an attempt ends or a call is picked for after an interval has
    passed. Only faults count against an instance: caller's errors and overload are answers, and
    what was never run, was given up, or met an instance without the method tells nothing.
    """

    __slots__ = ("_group", "_next", "_policy", "_random", "_tell")

    def __init__(
        self,
        policy: OutlierPolicy,
        group: Group,
        clock: Clock,
        random: Random,
        listener: Callable[[Event], None] = ignore,
    ) -> None:
        self._policy = policy
        self._group = group
        self._random = random
        self._tell = listener
        self._next = clock() + policy.interval
        """When the next judgement is due."""

    def observe(self, endpoint: Endpoint, verdict: Verdict, now: float) -> None:
        """Take in how an attempt ended."""
        if now >= self._next:
            self.sweep(now)
        tally: Tally | None = endpoint.tally
        if tally is None:
            tally = endpoint.tally = Tally()
        if verdict is Verdict.SUCCESS:
            tally.good += 1
        elif verdict is Verdict.FAULT:
            tally.bad += 1
        elif verdict in _ANSWERED:
            tally.good += 1

    def end(self) -> None:
        """Take all back and judge no more: other rules are in force, also for the calls that began
        by these and are still under way."""
        self._next = inf
        for endpoint in self._group.endpoints:
            endpoint.tally = None
            if endpoint.ejected:
                endpoint.ejected = False
                self._group.trip(endpoint)
                self._tell(EndpointReturned(self._group.service, endpoint.address))

    def sweep(self, now: float) -> None:
        """Judge what was observed if an interval has passed, and take back whose time is over.

        Whoever picks calls it while ``group.tripped`` isn't empty: without calls to the others
        nothing would be observed.
        """
        if now < self._next:
            return
        intervals = 1 + int((now - self._next) / self._policy.interval)
        self._next = now + self._policy.interval
        known = [(e, e.tally) for e in self._group.endpoints if e.tally is not None]
        if intervals == 1:
            self._judge(known, now)
        # Else there was silence since, and what was seen before it says nothing about now.
        for endpoint, tally in known:
            tally.good = tally.bad = 0
            self._forgive(endpoint, tally, now, intervals)

    def _judge(self, known: list[Judged], now: float) -> None:
        policy = self._policy
        if policy.success_rate is not None:
            rule = policy.success_rate
            outliers = _by_success_rate(_judgeable(rule, known), rule.stdev_factor / 1000.0)
            self._eject_all(outliers, rule.enforcement_percentage, now)
        if policy.failure_percentage is not None:
            rule_ = policy.failure_percentage
            outliers = _by_failures(_judgeable(rule_, known), rule_.threshold)
            self._eject_all(outliers, rule_.enforcement_percentage, now)

    def _eject_all(
        self, outliers: Iterator[tuple[Endpoint, Tally, str]], percentage: int, now: float
    ) -> None:
        """Eject outliers while that is allowed, the worst first."""
        for endpoint, tally, reason in outliers:
            if self._enough():
                return
            usable = endpoint.ready and not endpoint.paused and not endpoint.ejected
            if usable and self._random() * 100.0 < percentage:
                tally.multiplier += 1
                tally.ejected_at = now
                endpoint.ejected = True
                self._group.trip(endpoint)
                self._tell(
                    EndpointEjected(
                        self._group.service, endpoint.address, reason, self._length(tally)
                    )
                )

    def _enough(self) -> bool:
        """Whether no other may be ejected."""
        group = self._group
        connected = len(group.ready)
        ejected = sum(e.ejected for e in group.endpoints)
        if ejected + 1 > MOST_EJECTED * connected:
            return True
        return 100.0 * ejected >= self._policy.max_ejection_percent * connected

    def _length(self, tally: Tally) -> float:
        """Seconds that an ejection lasts."""
        policy = self._policy
        most = max(policy.base_ejection_time, policy.max_ejection_time)
        return min(policy.base_ejection_time * tally.multiplier, most)

    def _forgive(self, endpoint: Endpoint, tally: Tally, now: float, intervals: int) -> None:
        """Take an endpoint back if its time is over; else let it make up for an ejection.

        ``intervals`` have passed, so many sweeps a timer would have made.
        """
        if endpoint.ejected:
            over = now - tally.ejected_at - self._length(tally)
            if over < 0.0:
                return
            endpoint.ejected = False
            self._group.trip(endpoint)
            self._tell(EndpointReturned(self._group.service, endpoint.address))
            intervals = int(over / self._policy.interval)
        tally.multiplier = max(0, tally.multiplier - intervals)


def _judgeable(
    rule: SuccessRateEjection | FailurePercentageEjection, known: list[Judged]
) -> list[Judged]:
    """Those with enough calls, the worst first; none if they are too few."""
    judged = [one for one in known if one[1].volume >= max(rule.request_volume, 1)]
    if len(judged) < rule.minimum_hosts:
        return []
    return sorted(judged, key=lambda one: one[1].rate)


def _by_success_rate(judged: list[Judged], factor: float) -> Iterator[tuple[Endpoint, Tally, str]]:
    if not judged:
        return
    mean = fsum(tally.rate for _, tally in judged) / len(judged)
    deviation = sqrt(fsum((tally.rate - mean) ** 2 for _, tally in judged) / len(judged))
    limit = mean - factor * deviation
    for endpoint, tally in judged:
        if tally.rate < limit - _ROUNDING:
            reason = (
                f"{tally.rate:.1%} of {tally.volume} calls succeeded; of {len(judged)} instances "
                f"{mean:.1%} on average, and below {limit:.1%} is an outlier"
            )
            yield endpoint, tally, reason


def _by_failures(judged: list[Judged], threshold: int) -> Iterator[tuple[Endpoint, Tally, str]]:
    for endpoint, tally in judged:
        if 100 * tally.bad > threshold * tally.volume:
            reason = f"{tally.bad} of {tally.volume} calls failed, more than {threshold} %"
            yield endpoint, tally, reason
