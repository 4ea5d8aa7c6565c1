"""From what a handler raised to the status that its caller is sent."""

from __future__ import annotations

import logging
import uuid
from typing import Final

from grpc import StatusCode, aio

_log = logging.getLogger("seawall.server")

_PASSED_ON: Final = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
    }
)
"""Codes of a dependency's failure that say the same of the service that needed it."""


def status_of(path: str, error: BaseException) -> tuple[StatusCode, str]:
    """The code and the details for an exception. What it says stays in the log, under an id."""
    identity = uuid.uuid4().hex[:12]
    if isinstance(error, aio.AioRpcError) and (code := error.code()) in _PASSED_ON:
        _log.warning(
            "%s failed as a dependency did [error id %s]: %s %s",
            path,
            identity,
            code.name,
            error.details(),
        )
        return code, f"{path} failed as a dependency did [error id {identity}]"
    _log.error("%s raised [error id %s]", path, identity, exc_info=error)
    return StatusCode.INTERNAL, f"internal error [error id {identity}]"
