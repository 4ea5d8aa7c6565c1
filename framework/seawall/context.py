"""What travels with the code that runs: the request being served, and the caller's options."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from seawall.call import Call
from seawall.criticality import DEFAULT, SENT, Criticality, criticality_named


class Inbound:
    """The request that this task is serving. Calls made for it inherit from it."""

    __slots__ = ("alone", "asks_load", "criticality", "deadline")

    def __init__(
        self,
        deadline: float | None,
        asks_load: bool = False,
        alone: bool = False,
        criticality: Criticality = DEFAULT,
    ) -> None:
        self.deadline = deadline
        """When its caller gives up, on the monotonic clock; None = it never said."""
        self.asks_load = asks_load
        """Its caller wants to be told how much there is to do here."""
        self.alone = alone
        """Its caller, or one above, is trying again already: calls made for it are not repeated."""
        self.criticality = criticality
        """How much it matters; so do the calls made for it."""

    def end(self) -> None:
        """Its handler has ended. What that left running acts for nobody who waits: the calls that
        it begins from now on have time of their own, and may be repeated."""
        self.deadline = None
        self.alone = False


def end_request() -> None:
    """The handler that runs here has ended: see ``Inbound.end``."""
    served = inbound.get()
    if served is not None:
        served.end()


UNSET: Final[Any] = object()
"""An option that was not given; None is a fallback too."""

inbound: ContextVar[Inbound | None] = ContextVar("seawall_inbound", default=None)

current_options: ContextVar[Mapping[str, Any] | None] = ContextVar("seawall_options", default=None)


answering: ContextVar[tuple[str, ...]] = ContextVar("seawall_answering", default=())
"""The paths of the methods that have failed and that another one is called for now, by their
configs: none of them is asked to answer in turn."""


@contextmanager
def answering_for(path: str) -> Iterator[None]:
    """Calls that are started within answer for the method at ``path``."""
    token = answering.set((*answering.get(), path))
    try:
        yield
    finally:
        answering.reset(token)


@contextmanager
def without_fallback() -> Iterator[None]:
    """Calls within are not answered by the fallback that is at work: it would call itself, level
    upon level, while what it calls is away. Those that set one of their own are."""
    chosen = current_options.get()
    if chosen is None or "fallback" not in chosen:
        yield
        return
    token = current_options.set({name: chosen[name] for name in chosen if name != "fallback"})
    try:
        yield
    finally:
        current_options.reset(token)


def inherit(call: Call, served: Inbound | None) -> tuple[tuple[str, str | bytes], ...]:
    """Give a call what the code runs under that makes it: options, and what it serves.

    Returns what the servers are told of that, as metadata.
    """
    call.options = chosen = current_options.get()
    if served is not None:
        if served.alone:
            call.alone = True
        call.criticality = served.criticality
    if chosen is not None:
        call.criticality = chosen.get("criticality", call.criticality)
    return () if call.criticality is DEFAULT else SENT[call.criticality]


def options(
    *,
    fallback: Any = UNSET,
    hedge: bool | float = UNSET,
    hash_key: str | bytes | None = UNSET,
    criticality: str | Criticality = UNSET,
) -> AbstractContextManager[None]:
    """Options for the calls that are started within the ``with`` block.

    fallback: the answer if the call fails for a reason that is not the caller's own mistake: a
        message (for a streaming answer: a list of messages), or a function that gets the
        ``seawall.Call`` and the ``seawall.Failure`` and returns the message, or an awaitable of it.

    hedge: the seconds after which an idempotent unary call that has not been answered is sent to
        another instance too; True: as long as 95 % of the calls take; False: never.
    hash_key: calls with the same key go to the same instance, if the balancer is
        ``ring_hash_experimental``; None: no key, also where an outer block has set one.
    criticality: what overloaded servers shed first: ``sheddable``, ``sheddable_plus``, ``critical``
        (the default, or that of the request being served) or ``critical_plus``. Servers pass it on
        with the calls that they make for the request.

    Blocks nest; the inner one wins. They apply to this task and to tasks started in the block.
    Raises ``TypeError`` for what can't be an option's value, and ``ValueError`` for a delay or a
    class that makes no sense. What is no message of the method's is not noticed as a ``fallback``.
    """
    _check_fallback(fallback)
    _check_hedge(hedge)
    _check_hash_key(hash_key)
    given = {"fallback": fallback, "hedge": hedge, "hash_key": hash_key}
    chosen = {name: value for name, value in given.items() if value is not UNSET}
    if criticality is not UNSET:
        chosen["criticality"] = criticality_named(criticality)
    return _chosen(chosen)


@contextmanager
def _chosen(chosen: dict[str, Any]) -> Iterator[None]:
    token = current_options.set({**(current_options.get() or {}), **chosen})
    try:
        yield
    finally:
        current_options.reset(token)


def _check_fallback(fallback: Any) -> None:
    if hasattr(fallback, "__await__") and not callable(fallback):
        raise TypeError(
            f"fallback must be a message or a function, not a {type(fallback).__name__}: give the "
            "async function itself, without calling it"
        )


def _check_hedge(hedge: Any) -> None:
    if hedge is UNSET or isinstance(hedge, bool):
        return
    rule = f"hedge must be True, False or seconds above zero, not {hedge!r}"
    if not isinstance(hedge, int | float):
        raise TypeError(rule)
    if not 0 < hedge < math.inf:
        raise ValueError(rule)


def _check_hash_key(key: Any) -> None:
    if key is not UNSET and not isinstance(key, str | bytes | None):
        raise TypeError(f"hash_key must be a str or bytes, not {key!r}: give str(...) of it")
