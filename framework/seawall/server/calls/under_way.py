"""The streams that a server is answering with, for the end of its grace."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from seawall.statuses import Unavailable

RESUME: Final = ("seawall-resume", "1")
"""Trailing metadata: this stream was ended because its server stops; another one can go on."""


class UnderWay:
    """Knows the tasks that answer with streams, and ends those that outlast the grace.

    gRPC would cancel them, and their callers would not learn why.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended = False

    def begin(self) -> asyncio.Task[Any] | None:
        """The current task begins to answer with a stream."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        return task

    def leave(self, task: asyncio.Task[Any] | None) -> None:
        """It has ended."""
        if task is not None:
            self._tasks.discard(task)

    def end(self) -> None:
        """The grace is over: end all that are left, each with UNAVAILABLE."""
        self._ended = True
        for task in self._tasks:
            task.cancel()

    def reason(self, error: BaseException, context: Any) -> BaseException:
        """What a stream is really ended for, that ends with ``error``."""
        if not self._ended or not isinstance(error, asyncio.CancelledError):
            return error
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), RESUME))
        return Unavailable("the server stops, and its grace is over: go on with another instance")
