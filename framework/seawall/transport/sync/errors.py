"""What a sync call raises: the same ``CallError`` and the same story, as gRPC's sync stack has it.

There an error is also the ended call: interceptors hand it on in the place of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Any, NoReturn

import grpc

from seawall.call import Call, Failure
from seawall.transport.translate import CallError, error_of


class EndedCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """The interface of a call, and of its future, for an error that has nothing more to say."""

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:  # type: ignore[override]
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> NoReturn:
        assert isinstance(self, BaseException)
        raise self

    def exception(self, timeout: float | None = None) -> Any:
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return traceback_of(self)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)


class SyncCallError(CallError, EndedCall):  # type: ignore[misc]
    """The final error of a sync call: a ``seawall.CallError`` that is a ``grpc.Call`` too."""

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, arguments = super().__reduce__()
        return _of_sync_kind, (rebuild(*arguments),)


def sync_error_of(call: Call, failure: Failure) -> CallError:
    """The error to raise for a sync call that ended with ``failure``."""
    return _of_sync_kind(error_of(call, failure))


def traceback_of(error: Any) -> TracebackType | None:
    """The traceback of raising ``error``."""
    try:
        raise error
    except type(error):
        return sys.exc_info()[2]


def _of_sync_kind(error: CallError) -> CallError:
    kind: Any = type(error)
    made = _kind(kind)(
        error.code(),
        error.initial_metadata() or (),  # type: ignore[arg-type]
        error.trailing_metadata() or (),  # type: ignore[arg-type]
        error.details(),
        error.debug_error_string(),
    )
    made.method, made.attempts, made.notes = error.method, error.attempts, error.notes
    made.__cause__ = error.__cause__
    return made


@cache
def _kind(kind: Any) -> type[CallError]:
    """The sync stack's class for one of the aio stack's: whatever is refused there is here."""
    if kind is CallError:
        return SyncCallError
    facts = {"__module__": __name__, "__doc__": kind.__doc__}
    return type(kind.__name__, (SyncCallError, kind), facts)
