"""The thread on which the registry lives, and the connections are watched: calls never do."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

THREAD: Final = "seawall-registry"

_log = logging.getLogger("seawall.transport")


class Background:
    """An event loop on a daemon thread, started by whoever needs it first."""

    def __init__(self) -> None:
        self._start = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.ended = threading.Event()
        """Set when the thread has done its last, or will never be started."""
        self._stopping = False

    @property
    def is_current(self) -> bool:
        """Whether this is that thread."""
        return threading.current_thread() is self._thread

    def do(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the thread, soon. Nothing happens once it has ended."""
        loop = self._loop or self._started()
        with suppress(RuntimeError):  # it has been closed in this moment
            loop.call_soon_threadsafe(function, *arguments)

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have the thread run ``last()`` and end; returns at once. Only the first call counts."""
        if self._stopping:
            return
        self._stopping = True
        if self._loop is None:
            self.ended.set()
        else:
            self.do(self._begin_end, last)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(loop, self.ended), name=THREAD, daemon=True
                )
                self._thread.start()
                self._loop = loop
            return self._loop

    def _begin_end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        loop = self._loop
        task = loop.create_task(last(), name="closing")
        task.add_done_callback(lambda _: loop.stop())
        task.add_done_callback(_log_failure)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a channel did not close cleanly", exc_info=error)


def _run(loop: asyncio.AbstractEventLoop, ended: threading.Event) -> None:
    try:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    finally:
        ended.set()
