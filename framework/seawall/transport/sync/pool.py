"""Threads for the user's functions: fallbacks of calls that nobody's thread waits for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

MOST: Final = 16
"""Threads at a time; what comes then waits for one of them."""
LINGER: Final = 10.0
"""Seconds that a thread without work stays."""

_log = logging.getLogger("seawall.transport")


class Pool:
    """Up to 16 daemon threads, made as they are needed.

    Not ``concurrent.futures``: its threads are joined when the interpreter exits, so a fallback
    that hangs would keep the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: deque[Callable[[], None]] = deque()
        self._news = threading.Condition(threading.RLock())
        self._threads = 0
        self._idle = 0
        self._closed = False

    def run(self, job: Callable[[], None]) -> None:
        """Call ``job`` on one of the threads."""
        with self._news:
            self._work.append(job)
            if len(self._work) <= self._idle or self._threads >= MOST:
                self._news.notify()
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True).start()

    def close(self) -> None:
        """Begin nothing more; threads end as they become idle."""
        with self._news:
            self._closed = True
            self._work.clear()
            self._news.notify_all()

    def _serve(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """False if there is nothing more to do. Holds no call on return."""
        job = self._next()
        if job is None:
            return False
        try:
            job()
        except Exception:
            _log.exception("a call could not go on after its fallback")
        return True

    def _next(self) -> Callable[[], None] | None:
        with self._news:
            self._idle += 1
            self._news.wait_for(lambda: self._work or self._closed, LINGER)
            self._idle -= 1
            if self._work:
                return self._work.popleft()
            self._threads -= 1
            return None
