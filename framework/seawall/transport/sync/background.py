"""The thread on which the registry lives, and the connections are watched: calls never do."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

from seawall.transport.sync.pool import Pool

THREAD: Final = "seawall-registry"
NEWS: Final = "seawall-news"
IO: Final = "seawall-io"

_log = logging.getLogger("seawall.transport")


class Background:
    """An event loop on a daemon thread, started by whoever needs it first; and a thread of its own
    for whoever is told what happens there, as that may block."""

    def __init__(self) -> None:
        # Re-entrant: another channel may be collected, and so closed, in the midst of anything.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._news = Pool(NEWS, most=1)
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
            if loop is not None:
                loop.call_soon_threadsafe(function, *arguments)

    def tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function of the user's where it holds up nothing but the next one that is told."""
        self._news.run(partial(function, *arguments))

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have the thread run ``last()`` and end; returns at once. Only the first call counts."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            if self._loop is None:
                self._end()
                return
        self.do(self._begin_end, last)

    def _started(self) -> asyncio.AbstractEventLoop | None:
        with self._lock:
            if self._loop is None and not self._stopping:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(_DaemonThreads())
                thread = threading.Thread(target=self._run, args=(loop,), name=THREAD, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # too many threads
                    loop.close()
                    raise
                self._thread, self._loop = thread, loop
            return self._loop

    def _begin_end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        loop = self._loop
        task = loop.create_task(last(), name="closing")
        task.add_done_callback(lambda _: loop.stop())
        task.add_done_callback(_log_failure)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
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
            self._end()

    def _end(self) -> None:
        self._news.close()
        self.ended.set()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a channel did not close cleanly", exc_info=error)


class _DaemonThreads(ThreadPoolExecutor):
    """What the loop hands its reading of files and looking up of names to.

    The standard one takes nothing more once the main thread has ended, though others may go on
    calling for hours; and it keeps the process until the slowest answer has come.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self._pool = Pool(IO)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if not self._pool.run(partial(_answer, future, partial(fn, *args, **kwargs))):
            raise RuntimeError("no thread can be started")
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.close()


def _answer(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
