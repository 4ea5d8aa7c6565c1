"""Virtual time: what happens when, and nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

_STUCK: Final = 300_000
"""Events in one instant after which time is taken to stand still for good."""


class Event(list[Any]):
    """``[when, number, action, arguments]``, a list as heaps compare lists at once.

    The number keeps what is due at the same time in order.
    """

    __slots__ = ()

    def cancel(self) -> None:
        """See to it that it does not happen. Nothing if it has."""
        self[2] = None
        self[3] = ()  # it stays in the queue; what it would have acted on need not


class Engine:
    """An event queue, and the clock of all that lives in it: ``engine()`` is the time.

    Times are seconds from the start. Events of the same time happen in the order in which they
    were asked for, so a run depends on nothing but what it was given.
    """

    __slots__ = ("_numbers", "_queue", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[Event] = []
        self._numbers = 0

    def __call__(self) -> float:
        return self.now

    def at(self, when: float, action: Callable[..., Any], *arguments: Any) -> Event:
        """Call ``action(*arguments)`` at ``when``; at once if that has passed."""
        self._numbers = number = self._numbers + 1
        now = self.now
        event = Event((when if when > now else now, number, action, arguments))
        heappush(self._queue, event)
        return event

    def after(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> Event:
        """Call ``action(*arguments)`` in ``seconds``."""
        self._numbers = number = self._numbers + 1
        event = Event((self.now + seconds, number, action, arguments))
        heappush(self._queue, event)
        return event

    def soon(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Call ``action(*arguments)`` when what happens now has happened."""
        self.after(0.0, action, *arguments)

    @staticmethod
    def cancel(event: Event) -> None:
        """Cancel an event."""
        event.cancel()

    def run(self, until: float, going: Callable[[], bool] | None = None) -> None:
        """Let time pass until ``until``, or until ``going()`` says no.

        Raises RuntimeError if time stands still: something asks for itself again at once.
        """
        queue = self._queue
        watched, count = self.now, 0
        while queue and queue[0][0] <= until and (going is None or going()):
            when, _, action, arguments = heappop(queue)
            if action is None:
                continue
            self.now = when
            action(*arguments)
            count += 1
            if count == _STUCK:
                if self.now == watched:
                    name = getattr(action, "__qualname__", action)
                    raise RuntimeError(
                        f"time stands still at {watched:.6f} s: {_STUCK} events there, the last "
                        f"of them {name}; a policy sleeps for 0 s, again and again?"
                    )
                watched, count = self.now, 0
        if going is None and self.now < until:
            self.now = until
