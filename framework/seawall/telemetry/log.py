"""Events as log lines of the standard library's logging."""

from __future__ import annotations

import logging
from dataclasses import fields

from seawall.events import Event, Listener

_log = logging.getLogger("seawall")


def log_event(event: Event) -> None:
    """The default listener: one line for an event, at the level that the event has."""
    level = logging.getLevelName(event.level.upper())
    if _log.isEnabledFor(level):
        facts = " ".join(f"{f.name}={_plain(getattr(event, f.name))}" for f in fields(event))
        _log.log(level, "%s %s", type(event).__name__, facts)


def guarded(listener: Listener) -> Listener:
    """The same listener, except that what it raises is logged: telling must not break what it
    tells of."""

    def listen(event: Event) -> None:
        try:
            listener(event)
        except Exception:
            _log.exception("a listener failed at %r", event)

    return listen


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if " " in text else text
