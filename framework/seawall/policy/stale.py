"""Stale-if-error: the last good answer, when there is no new one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

from seawall.call import Call, Outcome, Success
from seawall.clock import Clock
from seawall.errors import in_words
from seawall.policy.classify import classify
from seawall.policy.fallback import MENDED, Told
from seawall.policy.plan import Handler, Layer, Plan, Run
from seawall.records import Record

STALE: Final = "seawall-stale"
"""In the trailing metadata of an answer that is not new: how old it is, in seconds."""

_LARGEST_REQUEST: Final = 16 * 1024
"""Bytes; answers to larger requests are not kept, as the request is kept with them."""

_UNKNOWN_SIZE: Final = 1024
"""Bytes that a message counts as if it can't say its own size, which generated ones can."""


class StalePolicy(Record):
    """``seawall.staleIfError`` of a method; the name is HTTP's (RFC 5861)."""

    max_age: float
    """Seconds that an answer may be old."""
    max_entries: int = 1000
    """The least recently used answer makes room."""
    vary: tuple[str, ...] = ("authorization", "cookie")
    """Names of metadata: a call is given only answers to calls with the same values of these."""
    max_bytes: int = 16 * 1024 * 1024
    """What all answers may have together, with their requests, as on the wire. In memory a message
    is a few times as large. The least recently used make room; a larger one is not kept."""


class _Kept(Record):
    message: Any
    at: float
    size: int


class StaleAnswers:
    """The last good answers of one method, by request."""

    def __init__(self, policy: StalePolicy, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._size = 0
        """Bytes of all that is kept."""

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, call: Call) -> Any:
        """What has to be the same for an answer to serve again; None = this one isn't kept."""
        if call.request is None or len(call.request) > _LARGEST_REQUEST or call.credentials:
            return None
        vary = self.policy.vary
        return call.request, tuple(pair for pair in call.headers if pair[0] in vary)

    def keep(self, key: Any, message: Any) -> None:
        """Keep an answer in the place of an earlier one. Raises what copying it raises, and keeps
        none then."""
        self._drop(key)
        size = len(key[0]) + _size_of(message)
        if size > self.policy.max_bytes:
            return
        # A copy, as the caller may change the one it is given.
        self._kept[key] = _Kept(deepcopy(message), self._clock(), size)
        self._size += size
        self._make_room()

    def find(self, key: Any) -> tuple[Any, float] | None:
        """The answer and its age in seconds; None if there is none that is young enough."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.at
        if age > self.policy.max_age:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return deepcopy(kept.message), age

    def follow(self, policy: StalePolicy) -> bool:
        """Go by another policy from now on. False if it can't: what is kept does not tell apart the
        callers that the policy tells apart."""
        if policy.vary != self.policy.vary:
            return False
        self.policy = policy
        self._make_room()
        return True

    def _make_room(self) -> None:
        policy = self.policy
        while len(self._kept) > policy.max_entries or self._size > policy.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def _drop(self, key: Any) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept.size


def _size_of(message: Any) -> int:
    size = getattr(message, "ByteSize", None)
    if size is not None:
        return int(size())
    return len(message) if isinstance(message, bytes | str) else _UNKNOWN_SIZE


def stale_if_error(
    answers: StaleAnswers, message_of: Callable[[Success], Any], told: Told
) -> Layer:
    """Keep good answers, and give the last one to a request that fails now.

    For unary methods that only read. Stands below ``fallback``: what a server once said is better
    than what the caller makes up. The same failures are mended, and the answer is marked: in the
    trailing metadata (``seawall-stale``), in the span, and in ``explain()``.
    """

    def layer(inner: Handler) -> Handler:
        def handler(call: Call) -> Plan:
            key = answers.key(call)
            return (
                inner(call) if key is None else _kept(inner, answers, message_of, told, key, call)
            )

        return handler

    return layer


def _kept(
    inner: Handler,
    answers: StaleAnswers,
    message_of: Callable[[Success], Any],
    told: Told,
    key: Any,
    call: Call,
) -> Plan:
    outcome: Outcome = yield from inner(call)
    if outcome.ok:
        message: Outcome = yield Run(message_of, outcome)
        if message.ok:
            try:
                answers.keep(key, message.value)
            except Exception as error:  # it is a good answer for all that
                call.note(f"not kept for a time of errors: {in_words(error)}")
        return outcome
    found = answers.find(key) if classify(outcome) in MENDED else None
    if found is None:
        return outcome
    old, age = found
    call.note(f"answered by what a server said {age:.1f} s ago, as there was no new answer")
    told(call, "stale")
    return Success(old, fallback="stale", trailing=((STALE, f"{age:.3f}"),))
