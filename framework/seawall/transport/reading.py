"""What the policies want to know of gRPC's answers, on the event loop."""

from __future__ import annotations

from typing import Any, Final

from grpc.aio import AioRpcError

from seawall.call import LoadReport, Outcome, Success
from seawall.pipeline import Reading
from seawall.transport.direct import DirectAttempt
from seawall.transport.load import report_in
from seawall.transport.translate import resolved


def _message(outcome: Success) -> Any:
    """The response, or gRPC's own call; it can be awaited for it any number of times."""
    value = outcome.value
    return value.response if type(value) is DirectAttempt else value


def _load(outcome: Outcome) -> LoadReport | None:
    if outcome.ok:
        value = outcome.value
        if type(value) is DirectAttempt:
            return report_in(value.trailing())
        return report_in(resolved(value.trailing_metadata()))
    error = outcome.error
    return report_in(error.trailing_metadata()) if isinstance(error, AioRpcError) else None


READING: Final = Reading(_message, _load)
