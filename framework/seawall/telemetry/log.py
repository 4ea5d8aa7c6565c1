"""Events as log lines of the standard library's logging."""

from __future__ import annotations

import logging
from dataclasses import fields

from seawall.events import Event

_log = logging.getLogger("seawall")


def log_event(event: Event) -> None:
    """The default listener: one line for an event, at the level that the event has."""
    level = logging.getLevelName(event.level.upper())
    if _log.isEnabledFor(level):
        facts = " ".join(f"{f.name}={_plain(getattr(event, f.name))}" for f in fields(event))
        _log.log(level, "%s %s", type(event).__name__, facts)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if " " in text else text
