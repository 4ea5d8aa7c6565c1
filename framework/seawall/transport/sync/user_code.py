"""Running the user's functions: callbacks and fallbacks. Never with a lock held."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from grpc import StatusCode

from seawall.call import Failure, Outcome, Success
from seawall.policy.plan import Run

_log = logging.getLogger("seawall.transport")


class _CallingBack(threading.local):
    now = False


calling_back: Final = _CallingBack()
"""Whether this thread, one of gRPC's as a rule, runs a callback: it must not wait for gRPC then."""


def call_back(callback: Callable[[Any], None], call: Any) -> None:
    """Call the user back; what that raises is logged, as gRPC does."""
    before, calling_back.now = calling_back.now, True
    try:
        callback(call)
    except Exception:
        _log.exception("a callback of a call failed")
    finally:
        calling_back.now = before


def answer_of(effect: Run) -> Outcome:
    """Run the user's function."""
    try:
        value = effect.function(*effect.arguments)
    except Exception as error:
        return Failure(StatusCode.UNKNOWN, repr(error), error=error)
    if not inspect.isawaitable(value):
        return Success(value)
    if inspect.iscoroutine(value):
        value.close()
    name = getattr(effect.function, "__qualname__", repr(effect.function))
    problem = TypeError(
        f"{name} returned an awaitable, and a sync call has no event loop to await it on: give it "
        "a plain function, or call through seawall.connect()"
    )
    return Failure(StatusCode.UNKNOWN, repr(problem), error=problem)
