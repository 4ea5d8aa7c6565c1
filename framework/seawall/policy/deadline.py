"""Deadlines: how long a call may take, and no call without time."""

from __future__ import annotations

from grpc import StatusCode

from seawall.call import Call, Failure
from seawall.errors import DeadlinePassed
from seawall.policy.plan import Handler, Plan, refuse

DEFAULT_TIMEOUT = 5.0
"""Seconds for a call whose caller and policy give none. Streams have no default."""

MARGIN = 0.005
"""Seconds of the inbound deadline kept back, so that the caller is answered before it gives up."""

FOR_EVER = 1e8
"""Seconds (three years); gRPC can't count much farther."""


def deadline_of(
    now: float,
    timeout: float | None,
    configured: float | None,
    inbound: float | None,
    *,
    streaming: bool,
) -> float | None:
    """When a call must be over, on the clock of ``now``; None = never.

    The least of: the caller's ``timeout``, the policy's, and the deadline of the request that is
    being served (``inbound``) less a margin. Without any of them 5 s, for streams none.
    """
    if timeout is not None and not timeout < FOR_EVER:
        if timeout != timeout:
            raise ValueError("timeout is not a number")
        timeout = FOR_EVER
    limit = timeout if configured is None else configured
    if timeout is not None and configured is not None:
        limit = min(timeout, configured)
    if limit is None and inbound is None and not streaming:
        limit = DEFAULT_TIMEOUT
    if inbound is None:
        return None if limit is None else now + limit
    inbound -= MARGIN
    return inbound if limit is None else min(inbound, now + limit)


def deadline(inner: Handler) -> Handler:
    """Refuse a call whose time was spent before it began."""

    def handler(call: Call) -> Plan:
        if call.deadline is None or call.deadline > call.started:
            return inner(call)
        return refuse(
            Failure(
                StatusCode.DEADLINE_EXCEEDED,
                f"the deadline had passed before {call.method.path} could be sent: the timeout is "
                "zero or negative, or the request being served has no time left",
                sent=False,
                refusal=DeadlinePassed,
            )
        )

    return handler
