"""Work that a disk may hold up for ever, out of the event loop's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], ended: Callable[[], None]) -> T:
    """What ``work`` returns or raises, done in a thread of its own.

    Unlike the threads of an executor it is waited for by nobody: neither others' work nor the end
    of the process hangs with a disk that hangs. Cancelled, it goes on alone. ``ended`` is called
    when it ends, on the event loop. Raises ``RuntimeError`` if the system has no more threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        ended()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:
            problem = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, problem)

    try:
        threading.Thread(target=run, name="seawall snapshots", daemon=True).start()
    except RuntimeError:
        ended()
        raise
    return await future
