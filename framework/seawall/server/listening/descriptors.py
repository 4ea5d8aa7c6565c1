"""File descriptors: each connection takes one, and a process that has none left is helpless.

So connections are taken up to a number that leaves some for what the service itself opens. Beyond
it gRPC closes new ones at once, without a word; so it is watched, and said here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from typing import Final, Self

_RESERVE: Final = 64
_LARGEST: Final = 2**31 - 1
"""What gRPC can be told."""
_MOST_PROBES: Final = 512
_EVERY: Final = 2.0
_CALM: Final = 3
"""Looks in a row that find one free, until it is over: while callers come and go one is free now
and then."""
_AGAIN: Final = 150
"""Looks, five minutes, after which it is said once more."""

_ENOUGH, _SCARCE, _NONE = range(3)

_MEND: Final = (
    "allow it more (ulimit -n, LimitNOFILE=, ulimits: in compose), or find out who holds them"
)

_log = logging.getLogger("seawall.server")


def most_connections() -> int | None:
    """How many connections fit this process's limit of descriptors; None: there is no limit.

    A tenth of them, 64 at least, are kept back; half of them, if there are so few.
    """
    limit = _limit()
    return None if limit is None else max(1, limit - _kept_back(limit))


def most_probes() -> int:
    """How many connections the listener for health takes: half of those that are kept back, and
    512 at most, so that nobody can use up the others' descriptors there."""
    limit = _limit()
    return _MOST_PROBES if limit is None else max(1, min(_MOST_PROBES, _kept_back(limit) // 2))


class Descriptors:
    """Looks every 2 seconds how many descriptors are open, and tells when it comes to the number
    of connections that are taken, when there is none left at all, and when that is over."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._told = _ENOUGH
        self._looks = 0
        """Since it was told."""
        self._calm = 0
        """Looks in a row that have found one free."""
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> Self:
        """Begin; in an event loop."""
        if self._most is not None:
            self._look(self._most)
        return self

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, most: int) -> None:
        free = _lowest_free()
        if free < most:
            self._calm += 1
            if self._told and self._calm >= _CALM:
                self._told = _ENOUGH
                _log.info("file descriptors are free again: new connections are taken")
        else:
            self._calm = 0
            self._tell(_NONE if free == _LARGEST else _SCARCE, most)
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look, most)

    def _tell(self, what: int, most: int) -> None:
        self._looks += 1
        if what <= self._told and self._looks < _AGAIN:
            return
        self._told, self._looks = what, 0
        problem = (
            f"all {_limit()} file descriptors are open: no connection can be taken, none made and "
            "no file opened"
            if what == _NONE
            else f"{most} of {_limit()} file descriptors are open: new connections are refused"
        )
        _log.warning("%s until some close; %s", problem, _MEND)


def _limit() -> int | None:
    """How many descriptors this process may have; None: as many as it likes."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY or limit > _LARGEST else limit


def _kept_back(limit: int) -> int:
    return min(limit // 2, max(_RESERVE, limit // 10))


def _lowest_free() -> int:
    """The lowest number that isn't taken: so many are, at the least. Counting them all would take
    milliseconds when they are many."""
    try:
        free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _LARGEST
    os.close(free)
    return free
