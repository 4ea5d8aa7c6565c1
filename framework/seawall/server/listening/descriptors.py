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
_EVERY: Final = 2.0

_log = logging.getLogger("seawall.server")


def most_connections() -> int | None:
    """How many connections fit this process's limit of descriptors; None: there is no limit.

    A tenth of them, 64 at least, are kept back; half of them, if there are so few.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit > _LARGEST:
        return None
    return max(1, limit - min(limit // 2, max(_RESERVE, limit // 10)))


class Descriptors:
    """Looks every 2 seconds how many descriptors are open, and tells when it comes to the number
    of connections that are taken, and when it is over."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._scarce = False
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
        scarce = _lowest_free() >= most
        if scarce and not self._scarce:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            _log.warning(
                "%d of %d file descriptors are open: new connections are refused until some "
                "close; allow it more (ulimit -n, LimitNOFILE=), or find out who holds them",
                most, limit,
            )  # fmt: skip
        elif self._scarce and not scarce:
            _log.info("file descriptors are free again: new connections are taken")
        self._scarce = scarce
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look, most)


def _lowest_free() -> int:
    """The lowest number that isn't taken: so many are, at the least. Counting them all would take
    milliseconds when they are many."""
    try:
        free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _LARGEST
    os.close(free)
    return free
