"""Log lines that strangers cause, bounded: who sends rubbish must not fill the disk with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable
from threading import Lock
from typing import Final

from seawall.clock import Clock

MOST: Final = 5
SPAN: Final = 10.0
_KINDS: Final = 1000
"""Kinds that are told apart; beyond them all begin anew."""
_TELLING: Final = 24
"""Letters of a line's text by which it is told from others."""


class Seldom:
    """Lets ``most`` things of each kind through in ``span`` seconds, and counts the others."""

    def __init__(self, most: int = MOST, span: float = SPAN, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._span = span
        self._clock = clock
        self._lock = Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """By kind: when its span began, and how many there have been in it."""

    def left_out(self, kind: Hashable) -> int | None:
        """How many of this kind were held back before this one; None: so is this one."""
        now = self._clock()
        with self._lock:
            if len(self._seen) >= _KINDS:
                self._seen.clear()
            began, count = self._seen.get(kind, (now, 0))
            held = 0
            if now - began >= self._span:
                held, began, count = max(0, count - self._most), now, 0
            self._seen[kind] = began, count + 1
        return held if count < self._most else None


class _Limit(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be written. What is below WARNING was asked for."""
        if record.levelno < logging.WARNING:
            return True
        held = self._seldom.left_out((record.levelno, str(record.msg)[:_TELLING]))
        if held:
            record.msg = f"{record.getMessage()} ({held} more like this were left out before)"
            record.args = ()
        return held is not None


def limit(*names: str) -> None:
    """Bound the warnings and errors of these loggers: 5 of a kind in 10 seconds from each."""
    for logger in map(logging.getLogger, names):
        if not any(isinstance(one, _Limit) for one in logger.filters):
            logger.addFilter(_Limit())
