"""Where last good lists are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from seawall.errors import ConfigError

VARIABLE: Final = "SEAWALL_SNAPSHOTS"
"""The directory of last good lists; ``off`` = none are kept."""
SETTING: Final = f"{VARIABLE}="


class NoPlace(Exception):
    """There is no directory for this user; the text says why, and what mends it."""


def directory() -> Path | None:
    """``$SEAWALL_SNAPSHOTS``, else ``seawall/snapshots`` in the user's cache; None = off.

    The cache is ``$XDG_CACHE_HOME``, or ``~/.cache`` without that. Raises ``ConfigError`` for a
    variable that makes no sense, ``NoPlace`` if this user has no home of his own.
    """
    setting = os.environ.get(VARIABLE, "").strip()
    if setting.lower() == "off":
        return None
    if not setting:
        return _cache() / "seawall" / "snapshots"
    if not Path(setting).is_absolute():
        hint = Path(os.path.expanduser(setting)).absolute()  # noqa: PTH111 (this one never raises)
        raise ConfigError(VARIABLE, f"{setting!r} is not absolute; did you mean {hint}, or off?")
    return Path(setting)


def _cache() -> Path:
    mend = f"set {SETTING}/path/of/yours, or {SETTING}off"
    try:
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))
        cache = named if named.is_absolute() else Path.home() / ".cache"
        above = _existing(cache)
        owner = above.stat().st_uid
    except (OSError, RuntimeError) as error:
        raise NoPlace(f"there is no home directory ({error}): {mend}") from None
    if owner != os.geteuid():
        # The home of the one who called sudo: what we make there, he could not write to.
        us = os.geteuid()
        raise NoPlace(f"{above} belongs to user {owner}, and this process is user {us}: {mend}")
    return cache


def _existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that is there."""
    while not os.path.exists(path):  # noqa: PTH110 (this one never raises)
        path = path.parent
    return path
