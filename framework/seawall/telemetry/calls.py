"""Metrics of the calls that a client makes: layers of a plan, as those of ``tracing``.

While nobody reads metrics these layers are left out of the stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, TypeVar

from grpc import StatusCode

from seawall.call import Call, Method, Outcome
from seawall.clock import Clock
from seawall.errors import Refused
from seawall.policy.plan import Handler, Layer, Plan, Send, send
from seawall.telemetry import catalogue
from seawall.telemetry.store import Histogram, Instrument, Metrics

_OK: Final = StatusCode.OK
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
Kept = TypeVar("Kept")


def measured_call(metrics: Metrics, clock: Clock) -> Layer:
    """Measures the whole call, as its caller sees it; stands over everything."""

    def layer(inner: Handler) -> Handler:
        series_of = _kept(lambda method: _Calls(metrics, method))

        def handler(call: Call) -> Plan:
            return _call(series_of(call.method), clock, inner, call)

        return handler

    return layer


def measured_attempt(metrics: Metrics, clock: Clock) -> Layer:
    """Measures each attempt; stands right above the wire."""

    def layer(inner: Handler) -> Handler:
        below = None if inner is send else inner
        series_of = _kept(lambda method: _Attempts(metrics, method))

        def handler(call: Call) -> Plan:
            return _attempt(series_of(call.method), clock, below, call)

        return handler

    return layer


def _kept(make: Callable[[Method], Kept]) -> Callable[[Method], Kept]:
    """What ``make`` makes of a method, made once."""
    known: dict[str, Kept] = {}

    def find(method: Method) -> Kept:
        found = known.get(method.path)
        if found is None:
            found = known[method.path] = make(method)
        return found

    return find


def _call(series: _Calls, clock: Clock, inner: Handler, call: Call) -> Plan:
    try:
        outcome = yield from inner(call)
    except BaseException:
        series.ended(call, StatusCode.CANCELLED, clock(), _more(call))
        raise
    if outcome.ok:
        more = 0 if call.attempts is None else _more(call, answered=not outcome.fallback)
        if call.method.response_streaming and not outcome.fallback:
            call.when_ended(partial(_stream_ended, series, clock, call, more))
            return outcome
        series.ended(call, _OK, clock(), more)
    else:
        if outcome.refusal is not None:
            series.refused(outcome.refusal)
        series.ended(call, outcome.code, clock(), _more(call))
    return outcome


def _more(call: Call, *, answered: bool = False) -> int:
    """The attempts after the first, of which one has ``answered`` the call or none."""
    return len(call.attempts or ()) - 1 + (answered and not call.late)


def _stream_ended(series: _Calls, clock: Clock, call: Call, more: int, end: Outcome) -> None:
    series.ended(call, _OK if end.ok else end.code, clock(), more)


def _attempt(
    series: _Attempts, clock: Clock, below: Handler | None, call: Call
) -> Generator[Any, Any, Outcome]:
    series.started.add()
    began = clock()
    try:
        if below is None:
            assert call.endpoint is not None, "the balance layer stands above and sets it"
            outcome: Outcome = yield Send(call, call.endpoint)
        else:
            outcome = yield from below(call)
    except BaseException:
        series.durations.record(StatusCode.CANCELLED, clock() - began)
        raise
    if outcome.ok:
        if call.method.response_streaming:
            call.when_ended(partial(_attempt_ended, series, clock, began))
        else:
            series.durations.record(_OK, clock() - began)
    elif outcome.pending is not None:  # it goes on beside its successor
        outcome.pending.append(partial(_attempt_ended, series, clock, began))
    else:
        series.durations.record(outcome.code, clock() - began)
    return outcome


def _attempt_ended(series: _Attempts, clock: Clock, began: float, end: Outcome) -> None:
    series.durations.record(_OK if end.ok else end.code, clock() - began)


class Durations:
    """A method's histograms of one instrument, by status."""

    __slots__ = ("_found", "_instrument", "_labels", "_metrics", "_ok")

    def __init__(self, metrics: Metrics, instrument: Instrument, *labels: str) -> None:
        self._metrics = metrics
        self._instrument = instrument
        self._labels = labels
        self._ok: Histogram | None = None
        self._found: dict[StatusCode, Histogram] = {}

    def record(self, code: StatusCode, seconds: float) -> None:
        # Most calls end well, and an enumeration's members are dear to look up.
        found = self._ok if code is _OK else self._found.get(code)
        if found is None:
            found = self._metrics.histogram(self._instrument, *self._labels, code.name)
            if code is _OK:
                self._ok = found
            else:
                self._found[code] = found
        found.record(seconds)


class _Attempts:
    """The series of one method's attempts."""

    __slots__ = ("durations", "started")

    def __init__(self, metrics: Metrics, method: Method) -> None:
        labels = method.path[1:], method.service
        self.started = metrics.counter(catalogue.ATTEMPT_STARTED, *labels)
        self.durations = Durations(metrics, catalogue.ATTEMPT_DURATION, *labels)


class _Calls:
    """The series of one method's calls."""

    __slots__ = ("_durations", "_labels", "_metrics")

    def __init__(self, metrics: Metrics, method: Method) -> None:
        self._metrics = metrics
        self._labels = method.path[1:], method.service
        self._durations = Durations(metrics, catalogue.CALL_DURATION, *self._labels)

    def ended(self, call: Call, code: StatusCode, now: float, more: int) -> None:
        """It has ended, after ``more`` attempts than one."""
        self._durations.record(code, now - call.started)
        if more > 0:
            self._repeated(call, more)

    def refused(self, refusal: type[Refused]) -> None:
        reason = _WORDS.sub("_", refusal.__name__).lower()
        self._metrics.counter(catalogue.REFUSALS, self._labels[0], reason).add()

    def _repeated(self, call: Call, more: int) -> None:
        free = min(call.free, more)
        for instrument, count in (
            (catalogue.CALL_TRANSPARENT_RETRIES, free),
            (catalogue.CALL_HEDGES if call.eager else catalogue.CALL_RETRIES, more - free),
        ):
            if count > 0:
                self._metrics.histogram(instrument, *self._labels).record(count)
