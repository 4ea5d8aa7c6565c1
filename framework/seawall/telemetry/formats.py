"""How log records are written: as a line of text, or as JSON, one object a line.

Neither lets a record look like another one: what is logged may come from whoever sent a request.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry import trace

from seawall.telemetry.identity import Identity

LONGEST: Final = 32_768
"""Characters of any text in a JSON record; what is over is cut off, and said so."""
_DEEPEST: Final = 5
"""Levels of a value that is logged as it is; below it is told as text."""

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, starts a terminal's escape, or turns the text round."""
_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else in one was given as ``extra``."""


class TextFormatter(logging.Formatter):
    """The time, level, logger and message. Lines after a record's first are indented, and control
    characters escaped, so that only a record's own begin can look like one."""

    def __init__(self, worker: str = "") -> None:
        place = f"{worker} %(name)s" if worker else "%(name)s"
        super().__init__(f"%(asctime)s %(levelname)s {place}: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return _CONTROL.sub(_escaped, text).replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """``time`` (RFC 3339, UTC, ms), ``level``, ``logger``, ``message``, ``service``, ``instance``;
    ``worker``, if there are any; ``trace_id`` and ``span_id`` within a call that has them;
    ``exception`` and ``stack`` where there is one; and whatever was given as ``extra``, under its
    own name."""

    def __init__(self, identity: Identity, worker: str = "") -> None:
        super().__init__()
        self._identity = identity
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        facts: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(_message(record)),
            "service": self._identity.name,
            "instance": self._identity.instance,
        }
        if self._worker:
            facts["worker"] = self._worker
        spanned = trace.get_current_span().get_span_context()
        if spanned.is_valid:
            facts["trace_id"] = f"{spanned.trace_id:032x}"
            facts["span_id"] = f"{spanned.span_id:016x}"
        facts.update(self._trouble(record))
        for key, value in vars(record).items():
            if key not in _KNOWN and key not in facts:
                facts[key] = _plain(value)
        return json.dumps(facts)

    def _trouble(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        if record.exc_info and record.exc_info[0] is not None:
            yield "exception", _cut(self.formatException(record.exc_info))
        elif record.exc_text:
            yield "exception", _cut(record.exc_text)
        if record.stack_info:
            yield "stack", _cut(record.stack_info)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that don't fit: what was meant is still worth having
        return f"{record.msg} {_text(record.args)}"


def _plain(value: Any, depth: int = 0) -> Any:
    """``value``, as JSON has it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, dict):
            return {_text(key): _plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(one, depth + 1) for one in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        return _cut(str(value))
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


def _cut(text: str) -> str:
    over = len(text) - LONGEST
    return text if over <= 0 else f"{text[:LONGEST]}... ({over} characters more)"


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
