"""What travels with the code that runs: the request being served, and the caller's options."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final


@dataclass(slots=True)
class Inbound:
    """The request that this task is serving. Calls made for it inherit from it."""

    deadline: float | None
    """When its caller gives up, on the monotonic clock; None = it never said."""
    asks_load: bool = False
    """Its caller wants to be told how much there is to do here."""
    alone: bool = False
    """Its caller, or one above, is trying again already: calls made for it are not repeated."""


UNSET: Final[Any] = object()
"""An option that was not given; None is a fallback too."""

inbound: ContextVar[Inbound | None] = ContextVar("seawall_inbound", default=None)

current_options: ContextVar[Mapping[str, Any] | None] = ContextVar("seawall_options", default=None)


@contextmanager
def options(
    *,
    fallback: Any = UNSET,
    hedge: bool | float = UNSET,
    hash_key: str = UNSET,
) -> Iterator[None]:
    """Options for the calls that are started within the ``with`` block.

    fallback: the answer if the call fails for a reason that is not the caller's own mistake: a
        message (for a streaming answer: a list of messages), or a function that gets the
        ``seawall.Call`` and the ``seawall.Failure`` and returns the message, or an awaitable of it.

    hedge: the seconds after which an idempotent unary call that has not been answered is sent to
        another instance too; True: as long as 95 % of the calls take; False: never.
    hash_key: calls with the same key go to the same instance, if the balancer is
        ``ring_hash_experimental``.

    Blocks nest; the inner one wins. They apply to this task and to tasks started in the block.
    Raises ``ValueError`` for a delay that makes no sense.
    """
    if not isinstance(hedge, bool) and hedge is not UNSET and not 0 < hedge < math.inf:
        raise ValueError(f"hedge must be True, False or seconds above zero, not {hedge!r}")
    given = {"fallback": fallback, "hedge": hedge, "hash_key": hash_key}
    chosen = {name: value for name, value in given.items() if value is not UNSET}
    token = current_options.set({**(current_options.get() or {}), **chosen})
    try:
        yield
    finally:
        current_options.reset(token)
