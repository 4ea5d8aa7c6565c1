"""From what a handler raised to the status that its caller is sent."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import grpc
from grpc import StatusCode, aio

from seawall.server.calls.unreadable import Unreadable
from seawall.statuses import StatusError
from seawall.transport.translate import PUSHBACK

Trailing = tuple[tuple[str, str | bytes], ...]

_log = logging.getLogger("seawall.server")

NOT_EXECUTED: Final = ((PUSHBACK, "0"),)
"""gRFC A6: it was not run, and may be tried again at once. That a method is not here says so: the
registry's address may be ours since a moment, and the caller's service next door."""

_PASSED_ON: Final = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
    }
)
"""Codes of a dependency's failure that say the same of the service that needed it."""

_FAULTS: Final = frozenset({StatusCode.DATA_LOSS, StatusCode.INTERNAL, StatusCode.UNKNOWN})
"""Codes of errors of a service's own that somebody should look at."""

_PUSHED_BACK: Final = frozenset({StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE})
"""Codes with which ``retry_after`` is told as pushback too."""

ROOM: Final = 8192 - 512
"""Bytes of trailing metadata that an error may send. gRPC's clients take 8 KiB (Go's 16 MiB), the
status and the headers that proxies add included, and fail the call with an error of their own if
it is more."""

MOST_MESSAGE: Final = 2048
"""Bytes of a message that are sent; it travels twice if there are details."""

_CUT: Final = " ..."


def status_of(
    path: str, error: BaseException, trailing: Iterable[tuple[str, str | bytes]] | None = None
) -> tuple[StatusCode, str, Trailing]:
    """The code, the details and the trailing metadata for an exception.

    A ``StatusError`` of the service's own is told as it is. Of any other what it says stays in
    the log, under an id. ``trailing`` is the metadata that the handler has set; what is returned
    includes it, or is empty if there is nothing to add.
    """
    sole = _sole(error)
    if isinstance(sole, StatusError) and not isinstance(sole, grpc.RpcError):
        return _own(path, sole, tuple(trailing or ()))
    identity = uuid.uuid4().hex[:12]
    if isinstance(sole, aio.AioRpcError) and (code := sole.code()) in _PASSED_ON:
        _log.warning(
            "%s failed as a dependency did [error id %s]: %s %s",
            path,
            identity,
            code.name,
            sole.details(),
        )
        return code, f"{path} failed as a dependency did [error id {identity}]", ()
    _log.error("%s raised [error id %s]", path, identity, exc_info=error)
    return StatusCode.INTERNAL, f"internal error [error id {identity}]", ()


def _sole(error: BaseException) -> BaseException:
    """What a task group raises for a single error is that error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _own(path: str, error: StatusError, kept: Trailing) -> tuple[StatusCode, str, Trailing]:
    from seawall.statuses.details import text_of

    code, message = error.code(), _shortened(text_of(error.details()))
    if code in _FAULTS and not isinstance(error, Unreadable):
        _log.error("%s raised %s", path, type(error).__qualname__, exc_info=error)
    if error.plain:
        return code, message, ()
    added = _added(path, code, message, error, kept)
    names = {key for key, _ in added}
    return code, message, (*(entry for entry in kept if entry[0] not in names), *added)


def _added(
    path: str, code: StatusCode, message: str, error: StatusError, kept: Trailing
) -> list[tuple[str, str | bytes]]:
    """The metadata that an error is told with, beside what the handler has set."""
    from seawall.statuses.wire import ENTRY, KEY, fitted, on_the_wire, status_with

    details = error.told()
    if details.reason and not details.domain:
        details = replace(details, domain=path.split("/")[1])
    added: list[tuple[str, str | bytes]] = []
    if details.retry_after is not None and code in _PUSHED_BACK:
        pause = min(math.ceil(details.retry_after * 1000), 999_999_999)
        added.append((PUSHBACK, str(pause)))
    used = sum(ENTRY + len(key) + on_the_wire(value) for key, value in (*kept, *added))
    room = ROOM - used - _encoded(message) - ENTRY - len(KEY)
    data = fitted(status_with(code, message, details), room, path)
    if data:
        added.append((KEY, data))
    return added


def _shortened(message: str) -> str:
    """As much of a message as is sent."""
    if len(message) * 9 <= MOST_MESSAGE or _encoded(message) <= MOST_MESSAGE:
        return message
    size = 0
    for place, letter in enumerate(message):
        size += _encoded(letter)
        if size > MOST_MESSAGE - len(_CUT):
            return message[:place] + _CUT
    return message


def _encoded(message: str) -> int:
    """The bytes of a message in ``grpc-message``, where all but printable ASCII takes three."""
    data = message.encode()
    return len(data) + 2 * sum(byte < 0x20 or byte > 0x7E or byte == 0x25 for byte in data)
