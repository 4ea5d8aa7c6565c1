"""Fallback: an answer of the caller's own when the service has none."""

from __future__ import annotations

from seawall.call import Call, Outcome, Success
from seawall.policy.classify import Verdict, classify
from seawall.policy.plan import Handler, Plan, Run

OPTION = "fallback"
_NOT_MENDED = (Verdict.CALLER, Verdict.ABSENT)


def fallback(inner: Handler) -> Handler:
    """Answer with the option ``fallback`` of the call if what is below failed.

    A value is the answer itself; a function gets the ``Failure`` and returns the answer, or an
    awaitable of it. The caller's own mistakes (INVALID_ARGUMENT, NOT_FOUND and their like) are
    not papered over, and its cancellation ends the plan. It stands outermost, so that it sees
    what retry, breaker and deadline could not mend.
    """

    def handler(call: Call) -> Plan:
        options = call.options
        if options is None or OPTION not in options:
            return inner(call)
        return _with_fallback(call, inner, options[OPTION])

    return handler


def _with_fallback(call: Call, inner: Handler, source: object) -> Plan:
    outcome: Outcome = yield from inner(call)
    if outcome.ok or classify(outcome) in _NOT_MENDED:
        return outcome
    if not callable(source):
        call.note("answered by the fallback value")
        return Success(source, fallback=True)
    answer: Outcome = yield Run(source, outcome)
    if not answer.ok:
        call.note(f"the fallback function failed too: {answer.error!r}")
        return outcome
    call.note("answered by the fallback function")
    return Success(answer.value, fallback=True)
