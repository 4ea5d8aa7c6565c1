"""The log that a process sets up for itself, if its program has set up none."""

from __future__ import annotations

import logging
import os
from typing import Final

from seawall.errors import ConfigError
from seawall.telemetry.formats import JsonFormatter, TextFormatter
from seawall.telemetry.identity import identity

LEVEL_VARIABLE: Final = "SEAWALL_LOG"
FORMAT_VARIABLE: Final = "SEAWALL_LOG_FORMAT"


def set_up_logging(worker: str = "") -> None:
    """Log to stderr, unless the root logger has a handler already.

    SEAWALL_LOG: the level, by its name; INFO. SEAWALL_LOG_FORMAT: ``text`` (the default) or
    ``json``. ``worker`` stands in each line, if several processes write the same log. Raises
    ``ConfigError`` for other values.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    level = logging.getLevelName((os.environ.get(LEVEL_VARIABLE, "").strip() or "INFO").upper())
    if not isinstance(level, int):
        given = os.environ.get(LEVEL_VARIABLE)
        raise ConfigError(LEVEL_VARIABLE, f"must be a level such as INFO or DEBUG, not {given!r}")
    name = os.environ.get(FORMAT_VARIABLE, "").strip().lower() or "text"
    formatter = _formatter(name, worker.strip())
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(level)


def _formatter(name: str, worker: str) -> logging.Formatter:
    if name == "text":
        return TextFormatter(worker)
    if name == "json":
        return JsonFormatter(identity, worker)
    raise ConfigError(FORMAT_VARIABLE, f"must be text or json, not {name!r}")
