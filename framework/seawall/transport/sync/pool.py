"""Threads for the user's functions, made as there is something to run."""

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
    """Up to ``most`` daemon threads; with one, what is given to it is done in that order.

    Not ``concurrent.futures``: its threads are joined when the interpreter exits, so a function
    that hangs would keep the process, and it takes no more work once the main thread has ended,
    though others go on.
    """

    def __init__(self, name: str, most: int = MOST) -> None:
        self._name = name
        self._most = most
        self._work: deque[Callable[[], object]] = deque()
        # Taken as it is, never by way of the condition: a signal handler that raises in the midst
        # of ``Condition.__enter__`` would leave it locked for ever.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._threads = 0
        self._idle = 0
        self._closed = False

    def run(self, job: Callable[[], object], *, awaited: bool = False) -> bool:
        """Call ``job`` on one of the threads; at once, on one more than ``most`` if need be, if it
        is ``awaited`` by one of them. False if it won't be called: no thread can be had."""
        with self._lock:
            if awaited:
                self._work.appendleft(job)
            else:
                self._work.append(job)
            enough = self._threads >= self._most and not awaited
            if enough or len(self._work) <= self._idle:
                self._news.notify()
                return True
            self._threads += 1
            try:
                name = f"{self._name}-{self._threads}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            except RuntimeError as error:  # too many threads, or the interpreter ends
                self._threads -= 1
                if not self._threads:
                    self._work.remove(job)
                    _log.warning("%s: nothing can be run: %s", self._name, error)
                    return False
        return True

    def close(self) -> None:
        """Threads end as soon as they have done what was given to them."""
        with self._lock:
            self._closed = True
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
        except BaseException:  # SystemExit too: it would end a thread that is counted on
            _log.exception("%s: a function failed", self._name)
        return True

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            self._idle += 1
            self._news.wait_for(lambda: self._work or self._closed, LINGER)
            self._idle -= 1
            if self._work:
                return self._work.popleft()
            self._threads -= 1
            return None
