"""Forks, and the interpreter's end: what they mean for the channels that are open.

What a child process inherits of a channel is of no use, and dangerous to take apart: gRPC's
objects take locks when they are collected, and a thread that isn't there any more may have held
them. So a child keeps for ever what it inherits; else it would hang as it ends.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import time
from collections.abc import Iterable
from typing import Final, Protocol

from seawall.transport.sync.weakly import Weakly

EXIT_WITHIN: Final = 1.0
"""Seconds that the interpreter's end waits for all open channels to be closed, at most."""


class Open(Protocol):
    """What belongs to an open channel."""

    def inherited(self) -> Iterable[object]:
        """What must not be collected in a child process."""

    def close(self, within: float) -> None:
        """Close the channel, wait ``within`` seconds; nothing, in a child process."""


def check(maker: int) -> None:
    """Raise ``RuntimeError`` in a process that was forked from ``maker``, the channel's own."""
    if os.getpid() != maker:
        raise RuntimeError(
            f"this channel was made by process {maker}, which this one, {os.getpid()}, was forked "
            "from: connections and threads do not survive a fork. Make the channel in each process "
            "after the fork (in gunicorn: in post_fork), and make no gRPC calls before it"
        )


_open: Final[Weakly[Open]] = Weakly()


def guard(open_: Open) -> None:
    """Keep it in every process that is forked from now on, close it when the interpreter ends."""
    _open.add(open_)


def _keep() -> None:
    for one in tuple(_open):
        for kept in one.inherited():
            # A module's list of them would be emptied when the interpreter ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def _close() -> None:
    for one in tuple(_open):
        one.close(0.0)
    end = time.monotonic() + EXIT_WITHIN
    for one in tuple(_open):
        one.close(max(0.0, end - time.monotonic()))


os.register_at_fork(after_in_child=_keep)
atexit.register(_close)
