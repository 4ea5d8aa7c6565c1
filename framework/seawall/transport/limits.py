"""Time limits of attempts: many are set, hardly any is ever reached.

A timer of the event loop costs 2.5 us to set and cancel, a fifth of what the whole framework
may cost a call. Here setting and cancelling are one set operation each; the price is a grain of
10 ms, which limits (hundreds of milliseconds) can bear.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

GRAIN: Final = 0.01
"""Seconds. A limit is reached up to this much late, never early."""

LATE: Final = 0.05
"""Seconds by which the loop may be late before it is not the attempt that is to blame."""

Alarm = Callable[[], None]


class Limits:
    """Alarms on one event loop, by the hundredth of a second in which they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Alarm]] = {}

    def set(self, alarm: Alarm, due: float) -> int:
        """Call ``alarm`` at ``due`` on the monotonic clock; returns what ``cancel`` wants."""
        slot = int(due / GRAIN) + 1
        alarms = self._slots.get(slot)
        if alarms is None:
            alarms = self._slots[slot] = set()
            self._loop.call_later(slot * GRAIN - time.monotonic(), self._due, slot)
        alarms.add(alarm)
        return slot

    def cancel(self, alarm: Alarm, slot: int) -> None:
        alarms = self._slots.get(slot)
        if alarms is not None:
            alarms.discard(alarm)

    def _due(self, slot: int) -> None:
        alarms = self._slots.pop(slot, None)
        if not alarms:
            return
        if time.monotonic() - slot * GRAIN > LATE:
            # The loop was held up: what is waited for may have arrived meanwhile, unread.
            again = int((time.monotonic() + LATE) / GRAIN) + 1
            self._slots.setdefault(again, set()).update(alarms)
            self._loop.call_later(LATE + GRAIN, self._due, again)
            return
        for alarm in alarms:
            alarm()
