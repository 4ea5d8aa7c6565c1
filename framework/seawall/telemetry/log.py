"""Events as log lines of the standard library's logging."""

from __future__ import annotations

import logging

from seawall.events import Event, Listener
from seawall.telemetry.metrics import count_event

_log = logging.getLogger("seawall")


def log_event(event: Event) -> None:
    """The default listener: one line for an event, at the level that the event has."""
    level = logging.getLevelName(event.level.upper())
    if _log.isEnabledFor(level):
        facts = " ".join(f"{name}={_plain(value)}" for name, value in event.items())
        _log.log(level, "%s %s", type(event).__name__, facts)


def guarded(listener: Listener, *, counted: bool = True) -> Listener:
    """The same listener, except that what it raises is logged, as telling must not break what it
    tells of; and, if metrics are on, events are ``counted``. Guarded twice is guarded once."""
    return listener if isinstance(listener, _Guarded) else _Guarded(listener, counted)


class _Guarded:
    __slots__ = ("_counted", "_listener")

    def __init__(self, listener: Listener, counted: bool) -> None:
        self._listener = listener
        self._counted = counted

    def __call__(self, event: Event) -> None:
        try:
            if self._counted:
                count_event(event)
            self._listener(event)
        except Exception:
            _log.exception("a listener failed at %r", event)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if " " in text else text
