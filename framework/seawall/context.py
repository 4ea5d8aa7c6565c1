"""What travels with the code that runs: the request being served, and the caller's options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Inbound:
    """The request that this task is serving. Calls made for it inherit from it."""

    deadline: float | None
    """When its caller gives up, on the monotonic clock; None = it never said."""
    alone: bool = False
    """Its caller, or one above, is trying again already: calls made for it are not repeated."""


inbound: ContextVar[Inbound | None] = ContextVar("seawall_inbound", default=None)

current_options: ContextVar[Mapping[str, Any] | None] = ContextVar("seawall_options", default=None)


@contextmanager
def options(*, fallback: Any) -> Iterator[None]:
    """Options for the calls that are started within the ``with`` block.

    fallback: the answer if the call fails for a reason that is not the caller's own mistake: a
        message (for a streaming answer: a list of messages), or a function that gets the
        ``seawall.Failure`` and returns the message, or an awaitable of it.

    Blocks nest; the inner one wins. They apply to this task and to tasks started in the block.
    """
    token = current_options.set({**(current_options.get() or {}), "fallback": fallback})
    try:
        yield
    finally:
        current_options.reset(token)
