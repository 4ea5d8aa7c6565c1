"""What the policies want to know of gRPC's answers, on the event loop."""

from __future__ import annotations

from typing import Any, Final

from grpc.aio import AioRpcError

from seawall.call import LoadReport, Outcome, Success
from seawall.pipeline import Reading
from seawall.transport.load import report_in
from seawall.transport.translate import resolved


def _message(outcome: Success) -> Any:
    """gRPC's own call; it can be awaited for the response any number of times."""
    return outcome.value


def _load(outcome: Outcome) -> LoadReport | None:
    if outcome.ok:
        return report_in(resolved(outcome.value.trailing_metadata()))
    error = outcome.error
    return report_in(error.trailing_metadata()) if isinstance(error, AioRpcError) else None


READING: Final = Reading(_message, _load)
