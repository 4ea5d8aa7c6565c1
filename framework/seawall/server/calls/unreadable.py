"""Requests that are no message of the method's type.

grpc.aio answers them UNKNOWN with the text of an exception, and logs a traceback for each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from seawall.statuses import Internal
from seawall.telemetry.seldom import Seldom

Deserializer = Callable[[bytes], Any]

_log = logging.getLogger("seawall.server")
_seldom: Final = Seldom()


class Unreadable(Internal):
    """A request can't be read. INTERNAL is what gRPC's list of status codes has for it."""


def reading(deserializer: Deserializer | None, path: str, *, stream: bool) -> Deserializer | None:
    """The same deserializer, for what it fails at: ``Unreadable``, raised into the handler that
    reads a ``stream``; of a single request, returned in its place, as there is no handler yet."""
    if deserializer is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception as error:
            held = _seldom.left_out(path)
            if held is not None:
                more = f" ({held} more were left out before)" if held else ""
                _log.warning("%s: can't read a request: %s%s", path, error, more)
            unreadable = Unreadable(f"can't read the request: it is no message of {path}")
            if stream:
                raise unreadable from None
            return unreadable

    return read


def readable(request: Any) -> Any:
    """``request``, if it could be read. Raises ``Unreadable``."""
    if request.__class__ is Unreadable:
        raise request
    return request
