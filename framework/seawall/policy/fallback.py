"""Fallback: an answer of the caller's own when the service has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from seawall.call import Call, Failure, Outcome, Success
from seawall.errors import in_words
from seawall.policy.classify import Verdict, classify
from seawall.policy.plan import Handler, Layer, Plan, Run

OPTION: Final = "fallback"
MENDED: Final = frozenset(Verdict) - {Verdict.SUCCESS, Verdict.CALLER, Verdict.ABSENT}
"""The caller's own mistakes (INVALID_ARGUMENT, NOT_FOUND and their like) are not papered over."""

_NONE: Final = object()


Told = Callable[[Call, str], None]
"""Is told of each answer that no server has just given, and of its kind (``Success.fallback``)."""


def fallback(told: Told) -> Layer:
    """Answer with the option ``fallback`` of the call if what is below failed, or, without that
    option, with another method as its policy says (``Call.alternative``).

    A value is the answer itself; a function gets the ``Call`` and the ``Failure`` and returns the
    answer, or an awaitable of it. It stands outermost, so that it sees what retry, breaker and
    deadline could not mend. The caller's cancellation ends the plan.
    """

    def layer(inner: Handler) -> Handler:
        def handler(call: Call) -> Plan:
            options = call.options
            source = _NONE if options is None else options.get(OPTION, _NONE)
            if source is _NONE and call.alternative is None:
                return inner(call)
            return _with_fallback(call, inner, source, told)

        return handler

    return layer


def _with_fallback(call: Call, inner: Handler, source: Any, told: Told) -> Plan:
    outcome: Outcome = yield from inner(call)
    if outcome.ok or classify(outcome) not in MENDED:
        return outcome
    if source is _NONE:
        kind, name = "method", "another method"
        answer: Outcome = yield Run(call.alternative)
    elif callable(source):
        kind, name = "function", "the fallback function"
        answer = yield Run(source, call, outcome)
    else:
        call.note("answered by the fallback value")
        told(call, "value")
        return Success(source, fallback="value")
    if not answer.ok:
        call.note(f"{name} failed too: {_in_a_line(answer)}")
        return outcome
    told(call, kind)
    if answer.trailing:  # the other method's answer is not new itself
        kind, name = "stale", f"{name}, with what a server had said before"
    call.note(f"answered by {name}")
    return Success(answer.value, fallback=kind, trailing=answer.trailing)


def _in_a_line(failure: Failure) -> str:
    if failure.error is None:
        return repr(failure)
    try:
        first = str(failure.error).splitlines()[0]
    except Exception:  # it says nothing, or can't
        return in_words(failure.error)
    return f"{type(failure.error).__name__}: {first[:300]}"
