"""Time limits of attempts: many are set, hardly any is ever reached.

A timer of the event loop costs 2.5 us to set and cancel, a fifth of what the whole framework
may cost a call. Here setting and cancelling are one set operation each; the price is a grain of
10 ms, which limits (hundreds of milliseconds) can bear.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

GRAIN: Final = 0.01
"""Seconds. A limit is reached up to this much late, never early."""

LATE: Final = 0.05
"""Seconds by which the loop may be late before it is not the attempt that is to blame."""

_log = logging.getLogger("seawall.transport")


class Alarm:
    """What is to be called, and when it is due."""

    __slots__ = ("put_off", "ring", "slot")

    def __init__(self, ring: Callable[[], None], slot: int) -> None:
        self.ring = ring
        self.slot = slot
        self.put_off = False
        """Its time had come when the loop was held up, so it was given a moment more."""


_Alarms = set[Alarm]


class Limits:
    """Alarms on one event loop, by the hundredth of a second in which they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, _Alarms] = {}

    def set(self, ring: Callable[[], None], due: float) -> Alarm:
        """Call ``ring`` at ``due`` on the monotonic clock; returns what ``cancel`` wants."""
        slot = int(due / GRAIN) + 1
        alarm = Alarm(ring, slot)
        alarms = self._slots.get(slot)
        if alarms is None:
            alarms = self._open(slot)
        alarms.add(alarm)
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        alarms = self._slots.get(alarm.slot)
        if alarms is not None:
            alarms.discard(alarm)

    def _open(self, slot: int) -> _Alarms:
        alarms: _Alarms = set()
        self._slots[slot] = alarms
        self._loop.call_later(max(0.0, slot * GRAIN - time.monotonic()), self._due, slot)
        return alarms

    def _due(self, slot: int) -> None:
        alarms = self._slots.pop(slot, None)
        if not alarms:
            return
        now = time.monotonic()
        if now - slot * GRAIN > LATE:
            alarms = self._put_off(alarms, int((now + LATE) / GRAIN) + 1)
        for alarm in alarms:
            try:
                alarm.ring()
            except Exception:  # one call's trouble is not the others'
                _log.exception("a call could not go on after its time limit")

    def _put_off(self, alarms: _Alarms, slot: int) -> _Alarms:
        """The loop was held up: what is waited for may have arrived meanwhile, unread.

        Returns those that were put off before: in a loop that is always late they would never ring.
        """
        fresh = {alarm for alarm in alarms if not alarm.put_off}
        if fresh:
            later = self._slots.get(slot) or self._open(slot)
            for alarm in fresh:
                alarm.slot, alarm.put_off = slot, True
                later.add(alarm)
        return alarms - fresh
