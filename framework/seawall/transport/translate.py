"""Between gRPC's view of a call's end and seawall's: outcomes in, errors out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import grpc
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from seawall import errors
from seawall.call import Attempt, Call, Failure
from seawall.statuses import StatusError, kind_of
from seawall.transport.unsent import in_own_words, says_unsent

if TYPE_CHECKING:
    from seawall.statuses.details import Details

CODES: Final = {code.value[0]: code for code in StatusCode}
"""By number: to search the enumeration would cost a call more than its metrics."""
PUSHBACK: Final = "grpc-retry-pushback-ms"
_BROKEN_WRITE: Final = "Internal error from Core"
_LONGEST_LINE: Final = 500
"""Characters of a line of a call's story; ``details()`` has all of what was said last."""
_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")

MetadataLike = Metadata | Sequence[tuple[str, str | bytes]]


class FlatMetadata(Metadata):
    """Metadata that is only handed on: a tuple in the clothes that gRPC asks for.

    gRPC copies what it is given into an ordered dictionary of lists unless it is a ``Metadata``.
    """

    def __init__(self, items: Iterable[tuple[str, str | bytes]]) -> None:
        self._items = tuple(items)

    def __iter__(self) -> Iterator[tuple[str, str | bytes]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return True  # gRPC replaces what is false by an empty Metadata of the slow kind


NO_METADATA: Final = FlatMetadata(())


def checked_metadata(metadata: MetadataLike) -> tuple[tuple[str, str | bytes], ...]:
    """The user's metadata as a tuple. Raises ValueError or TypeError naming the bad entry.

    gRPC would find it out in a task of its own, and the call would never end.
    """
    items = tuple(metadata)
    for item in items:
        if not (isinstance(item, tuple | list) and len(item) == 2):
            raise TypeError(f"metadata must be pairs of key and value, not {item!r}")
        key, value = item
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(
                f"metadata key {key!r} is not valid: lower-case letters, digits, '_', '-' and '.'"
            )
        _check_value(key, value)
    return items


def _check_value(key: str, value: object) -> None:
    if not isinstance(value, str | bytes):
        raise TypeError(f"metadata {key!r} must be str or bytes, not {type(value).__name__}")
    if isinstance(value, bytes) != key.endswith("-bin"):
        raise ValueError(
            f"metadata {key!r}: values are bytes where, and only where, a key ends in '-bin'"
        )
    if isinstance(value, str) and not _VALUE.fullmatch(value):
        raise ValueError(
            f"metadata {key!r}: text values are printable ASCII; others go under '-bin'"
        )


def resolved(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for, such as ``code()`` of an ended call.

    gRPC tells an ended call's status by coroutines only; a callback can't await.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("the call has not ended")


def whole_grains(remaining: float) -> float:
    """What to give gRPC as the timeout so that no server believes it has longer than its caller.

    ``grpc-timeout`` is rounded up: to 1 ms, to 10 ms from 1 s on, to 100 ms from 10 s, to 1 s from
    100 s. So an attempt ends that much before its call must: 1 % at most from 0.1 s on.
    """
    if remaining < 0.99:
        return remaining - 0.001 if remaining > 0.01 else max(remaining, 0.0001)
    return remaining - (0.01 if remaining < 9.9 else 0.1 if remaining < 99 else 1.0)


async def true_code(inner: grpc.aio.Call) -> StatusCode:
    """The status of a stream-unary call whose requests were being written when it ended.

    grpc.aio answers a write to a call that the server has just ended with an INTERNAL of its own,
    and puts the server's status in its place when that is read, a moment later.
    """
    for _ in range(40):
        if await inner.details() != _BROKEN_WRITE:
            break
        await asyncio.sleep(0.005)
    return await inner.code()


def is_broken_write(inner: grpc.aio.Call) -> bool:
    """Whether an ended call's status is that passing one of grpc.aio's own."""
    return bool(resolved(inner.details()) == _BROKEN_WRITE)


def failure_of(inner: grpc.aio.Call, code: StatusCode, *, stayed: bool) -> Failure:
    """The failure that an ended gRPC call stands for.

    ``stayed``: whether the connection that it went over was up all the time.
    """
    error = AioRpcError(
        code,
        resolved(inner.initial_metadata()),
        resolved(inner.trailing_metadata()),
        resolved(inner.details()) or "",
        resolved(inner.debug_error_string()) or "",  # type: ignore[attr-defined]
    )
    return failure_with(error, stayed=stayed)


def failure_with(error: AioRpcError, *, stayed: bool) -> Failure:
    """The failure that an attempt's error stands for."""
    code, details, trailing = error.code(), error.details() or "", error.trailing_metadata()
    pushback, stop = pushback_of(trailing)
    unsent = not stayed and says_unsent(code, details)
    return Failure(
        code,
        in_own_words(details) if unsent else details,
        sent=not unsent,
        pushback=pushback,
        stop=stop,
        untold=details == _BROKEN_WRITE,
        error=error,
    )


def pushback_of(trailing: Iterable[tuple[str, Any]] | None) -> tuple[float | None, bool]:
    """``grpc-retry-pushback-ms`` as (seconds, do not retry); gRFC A6."""
    for key, value in trailing or ():
        if key == PUSHBACK:
            text = value if isinstance(value, str) else ""
            if re.fullmatch(r"\d{1,9}", text):
                return int(text) / 1000, False
            return None, True
    return None, False


def story_of(title: str, attempts: Iterable[Attempt], notes: Iterable[str]) -> str:
    """A call told in lines: what became of it, each failed attempt, what there is to say."""
    tried = (
        f"attempt {a.number} at {a.address} (of {a.candidates}): "
        f"{a.code.name} after {a.duration * 1000:.1f} ms" + (f": {a.details}" if a.details else "")
        for a in attempts
    )
    return "\n  ".join([_in_a_line(line) for line in (title, *tried, *notes)])


def _in_a_line(text: str) -> str:
    """What servers say may have any length, and any number of lines."""
    line = text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 3] + "..."
    return line if line.isprintable() else "".join([c if c.isprintable() else " " for c in line])


class CallError(AioRpcError, StatusError):
    """The final error of a call: gRPC's own ``AioRpcError``, and how it came to it.

    It is an instance of the class of its code too, such as ``seawall.NotFound``, and, if the
    framework refused by itself, of one of the ``seawall.Refused`` (``NoEndpoints``,
    ``CircuitOpen``, ``DeadlinePassed`` ...).
    """

    attempts: tuple[Attempt, ...] = ()
    """The attempts that were made, in order: endpoint, code, details, duration in seconds."""
    notes: tuple[str, ...] = ()
    """What retry, budget and fallback had to say."""
    method: str = ""
    refusal: ClassVar[type[errors.Refused] | None] = None
    """Which of the refusals it is, if any."""

    def details(self) -> str:
        """The status's message."""
        return super().details() or ""

    def status(self) -> Any:
        """The ``google.rpc.status_pb2.Status`` that came with it, or one that says no more."""
        from seawall.statuses.details import Details
        from seawall.statuses.wire import status_in, status_with

        found = status_in(self.code(), self.trailing_metadata())
        return status_with(self.code(), self.details(), Details()) if found is None else found

    def told(self) -> Details:
        if self._given is None:
            from seawall.statuses.wire import details_in

            told = details_in(self.status())
            if told.retry_after is None:
                told = replace(told, retry_after=pushback_of(self.trailing_metadata())[0])
            self._given = told
        return self._given

    def explain(self) -> str:
        """The call's story in a few lines: each attempt, and why there was not one more."""
        title = f"{self.method} failed with {self.code().name}: {self.details()}"
        unsent = () if self.attempts else ("no attempt was sent",)
        return story_of(title, self.attempts, (*unsent, *self.notes))

    def __str__(self) -> str:
        return self.explain()

    def __reduce__(self) -> tuple[Any, ...]:
        trailing = Metadata(*(self.trailing_metadata() or ()))
        return _rebuild, (
            self.refusal, self.method, self.attempts, self.notes,
            (self.code(), None, trailing, self.details(), self.debug_error_string()),
        )  # fmt: skip


@cache
def _kind(refusal: Any, code: StatusCode) -> type[CallError]:
    """The class of the errors of a code, refused by the framework or not."""
    named = kind_of(code)
    told = named if refusal is None else refusal
    bases: tuple[Any, ...] = (CallError, named) if refusal is None else (CallError, refusal, named)
    facts = {"refusal": refusal, "__module__": __name__, "__doc__": told.__doc__}
    return type(f"{told.__name__}Error", bases, facts)


def _rebuild(
    refusal: Any,
    method: str,
    attempts: tuple[Attempt, ...],
    notes: tuple[str, ...],
    arguments: tuple[Any, ...],
) -> CallError:
    error = _kind(refusal, arguments[0])(*arguments)
    error.method, error.attempts, error.notes = method, attempts, notes
    return error


def error_of(call: Call, failure: Failure) -> CallError:
    """The error to raise for a call that ended with ``failure``."""
    inner = failure.error if isinstance(failure.error, AioRpcError) else None
    arguments = (
        failure.code,
        inner.initial_metadata() if inner else Metadata(),
        inner.trailing_metadata() if inner else Metadata(),
        failure.details,
        inner.debug_error_string() if inner else None,
    )
    attempts, notes = tuple(call.attempts or ()), tuple(call.notes or ())
    error = _rebuild(failure.refusal, call.method.path, attempts, notes, arguments)
    if inner is None and failure.error is not None:
        error.__cause__ = failure.error
    return error
