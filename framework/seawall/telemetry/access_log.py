"""The access log: a record for each call that a server has answered."""

from __future__ import annotations

import logging
import time
from typing import Any, Final, Literal, get_args

from grpc import StatusCode

from seawall.clock import Clock
from seawall.errors import ConfigError
from seawall.policy.retry import NUMBER
from seawall.telemetry.names import SERVER_ERRORS

Mode = Literal["off", "errors", "on"]

_log = logging.getLogger("seawall.access")
_LONGEST_DEADLINE: Final = 1e9
"""Seconds; gRPC's sync contexts say 9.2e18 for "none"."""
_MOST_ATTEMPTS: Final = 999

ERRORS_A_SECOND: Final = 20
"""What ``errors`` logs at most: a server in trouble must not spend its CPU on saying so. The next
record tells how many were left out."""


def checked_mode(name: str, text: object) -> Mode:
    """``text`` in its meaning. Raises ``ConfigError`` that names the setting ``name``."""
    for mode in get_args(Mode):
        if str(text).strip().lower() == mode:
            return mode  # type: ignore[no-any-return]
    raise ConfigError(name, f"must be on, errors or off, not {text!r}")


class AccessLog:
    """Writes the records, through the logger ``seawall.access``.

    Those of calls that failed by the server's fault have the level warning, all others info. They
    hold the method, the status, the seconds that it took, the caller's address, which of its
    attempts it was, and the seconds that were left of its deadline; never a message, and no
    metadata but that number.
    """

    def __init__(self, *, errors_only: bool = False, clock: Clock = time.monotonic) -> None:
        self._errors_only = errors_only
        self._clock = clock
        self._second = 0
        self._noted = 0
        self._left_out = 0

    def note(self, name: str, code: StatusCode, seconds: float, context: Any) -> None:
        """A call of the method ``name`` has ended."""
        error = code in SERVER_ERRORS
        if self._errors_only and not (error and self._may_log()):
            return
        level = logging.WARNING if error else logging.INFO
        if not _log.isEnabledFor(level):
            return
        facts: dict[str, Any] = {
            "method": name,
            "code": code.name,
            "duration": round(seconds, 6),
            "peer": _printable(context.peer()),
        }
        attempt = _attempt(context)
        if attempt is not None:
            facts["attempt"] = attempt
        left = context.time_remaining()
        if left is not None and left < _LONGEST_DEADLINE:
            facts["deadline_left"] = round(left, 6)
        if self._left_out:
            facts["left_out"], self._left_out = self._left_out, 0
        text = " ".join(f"{key}={value}" for key, value in list(facts.items())[3:])
        _log.log(level, "%s %s %.6f s %s", name, code.name, seconds, text, extra=facts)

    def _may_log(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._noted = second, 0
        self._noted += 1
        if self._noted > ERRORS_A_SECOND:
            self._left_out += 1
            return False
        return True


def _attempt(context: Any) -> int | None:
    """The number of the attempt, as a seawall client tells it from the second on. It comes from
    the network: anything that is no such number is not there."""
    for key, value in context.invocation_metadata() or ():
        if key == NUMBER:
            text = str(value)
            usable = len(text) <= len(str(_MOST_ATTEMPTS)) and text.isascii() and text.isdecimal()
            return int(text) if usable else None
    return None


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
