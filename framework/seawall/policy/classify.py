"""The one classifier: what an outcome means to retry, breaker, balancer and fallback alike."""

from __future__ import annotations

from enum import Enum
from typing import Final

from grpc import StatusCode

from seawall.call import Failure, Outcome


class Verdict(Enum):
    """What an outcome says, and about whom."""

    SUCCESS = "success"
    CALLER = "caller's error"
    """The request is at fault; another instance would say the same."""
    REFUSED = "refused"
    """Provably not run: never sent, refused before it started, or the server vouches for it."""
    OVERLOAD = "overload"
    """The instance is healthy and has too much to do. Says nothing against it."""
    FAULT = "fault"
    """The instance, or the way there, is at fault; the call may have been run."""
    ABSENT = "absent"
    """The instance does not have the method; another may, as with versions side by side, or when
    the registry's address is somebody else's by now. It may be well in all else. That alone does
    not say that nothing was run, as handlers answer so too; a server may vouch for it (``lacks``).
    """
    CANCELLED = "cancelled"
    """The call was given up: by its caller, which ends the plan, or by a server that stops.
    Says nothing about anybody."""
    UNTOLD = "untold"
    """What the server said was lost. Says nothing about anybody."""


_OF_CODE: Final = {
    StatusCode.CANCELLED: Verdict.CANCELLED,
    StatusCode.UNKNOWN: Verdict.FAULT,
    StatusCode.INVALID_ARGUMENT: Verdict.CALLER,
    StatusCode.DEADLINE_EXCEEDED: Verdict.FAULT,
    StatusCode.NOT_FOUND: Verdict.CALLER,
    StatusCode.ALREADY_EXISTS: Verdict.CALLER,
    StatusCode.PERMISSION_DENIED: Verdict.CALLER,
    StatusCode.UNAUTHENTICATED: Verdict.CALLER,
    StatusCode.RESOURCE_EXHAUSTED: Verdict.OVERLOAD,
    StatusCode.FAILED_PRECONDITION: Verdict.CALLER,
    StatusCode.ABORTED: Verdict.CALLER,
    StatusCode.OUT_OF_RANGE: Verdict.CALLER,
    StatusCode.UNIMPLEMENTED: Verdict.ABSENT,
    StatusCode.INTERNAL: Verdict.FAULT,
    StatusCode.UNAVAILABLE: Verdict.FAULT,
    StatusCode.DATA_LOSS: Verdict.FAULT,
}


def classify(outcome: Outcome) -> Verdict:
    """Name an outcome.

    A server that answers with ``grpc-retry-pushback-ms`` vouches that it did not run the call
    (gRFC A6), so any such failure is REFUSED, unless it is RESOURCE_EXHAUSTED: that stays
    OVERLOAD, which retry treats the same and breakers ignore, or UNIMPLEMENTED: that stays ABSENT.
    """
    if outcome.ok:
        return Verdict.SUCCESS
    if not outcome.sent or outcome.refusal is not None:
        return Verdict.REFUSED
    if outcome.untold:
        return Verdict.UNTOLD
    verdict = _OF_CODE[outcome.code]
    if outcome.pushback is not None and verdict is Verdict.FAULT:
        return Verdict.REFUSED
    return verdict


def not_executed(failure: Failure) -> bool:
    """Whether no server ran the call, provably: then even a method with effects can be retried."""
    return not failure.sent or failure.pushback is not None


def lacks(failure: Failure) -> bool:
    """Whether a server vouches that it ran nothing, as it does not have the method."""
    vouches = failure.pushback is not None and not failure.stop
    return vouches and classify(failure) is Verdict.ABSENT
