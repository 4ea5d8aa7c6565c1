"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable
from typing import Final, cast

from seawall.errors import ConfigError

LOOPS: Final = ("auto", "asyncio", "uvloop")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str | None) -> LoopFactory | None:
    """What makes the loop that ``name`` asks for; None = asyncio's own.

    Not given: SEAWALL_LOOP, else ``auto``: uvloop if it is installed. Raises ``ConfigError`` for
    another name, and for ``uvloop`` where that is missing.
    """
    name = name or os.environ.get("SEAWALL_LOOP", "").strip().lower() or "auto"
    if name not in LOOPS:
        raise ConfigError("loop", f"must be one of {', '.join(LOOPS)}, not {name!r}")
    if name == "asyncio":
        return None
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        if name == "auto":
            return None
        raise ConfigError("loop", "uvloop is not installed: pip install uvloop") from None
    return cast(LoopFactory, uvloop.new_event_loop)
