"""Running the user's functions: callbacks and fallbacks. Never with a lock held."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

from grpc import StatusCode

from seawall.call import Failure, Outcome, as_success
from seawall.context import without_fallback
from seawall.errors import in_words
from seawall.policy.plan import Run

_log = logging.getLogger("seawall.transport")


def call_back(
    callbacks: Iterable[Callable[[Any], None]], call: Any, errors: type[BaseException] = Exception
) -> None:
    """Call the user back; which ``errors`` that raises is logged, as gRPC does."""
    for callback in callbacks:
        try:
            callback(call)
        except errors:
            _log.exception("a callback of a call failed")


def answer_of(effect: Run) -> Outcome:
    """Run the user's function."""
    try:
        with without_fallback():
            value = effect.function(*effect.arguments)
    except Exception as error:
        return Failure(StatusCode.UNKNOWN, in_words(error), error=error)
    if not inspect.isawaitable(value):
        return as_success(value)
    if inspect.iscoroutine(value):
        value.close()
    name = getattr(effect.function, "__qualname__", repr(effect.function))
    problem = TypeError(
        f"{name} returned an awaitable, and a sync call has no event loop to await it on: give it "
        "a plain function, or call through seawall.connect()"
    )
    return Failure(StatusCode.UNKNOWN, repr(problem), error=problem)
