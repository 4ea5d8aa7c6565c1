"""What the policies want to know of gRPC's answers, in the sync stack."""

from __future__ import annotations

from typing import Any, Final

from grpc.aio import AioRpcError

from seawall.call import LoadReport, Outcome, Success
from seawall.pipeline import Reading
from seawall.transport.load import report_in


def _message(outcome: Success) -> Any:
    """The response of a unary call that has ended."""
    return outcome.value.message()


def _load(outcome: Outcome) -> LoadReport | None:
    if outcome.ok:
        return report_in(outcome.value.call.trailing_metadata())
    error = outcome.error
    return report_in(error.trailing_metadata()) if isinstance(error, AioRpcError) else None


READING: Final = Reading(_message, _load)
