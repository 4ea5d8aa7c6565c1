"""Where the files are, and whether that place can be trusted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote

from seawall.errors import ConfigError, RegistryError
from seawall.registry.private import objection


def parse(url: str) -> Path:
    """The directory that ``url`` names: ``local://`` or ``local:///absolute/path``."""
    place = url.partition("://")[2]
    if "?" in place or "#" in place:
        raise ConfigError("registry", f"{url!r}: local:// takes a directory and no options")
    if place in ("", "/"):
        return default()
    if not place.startswith("/"):
        raise ConfigError("registry", f"{url!r} is not absolute; did you mean local:///{place}?")
    return Path(unquote(place))


def default() -> Path:
    """``$XDG_RUNTIME_DIR/seawall`` if that is there and ours, else ``<tempdir>/seawall-<uid>``."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    try:
        if runtime.is_absolute() and runtime.stat().st_uid == os.geteuid():
            return runtime / "seawall"
    except OSError:
        pass  # set, but gone or somebody else's (after su, say): as if it weren't set
    return Path(tempfile.gettempdir()) / f"seawall-{os.geteuid()}"


def secure(directory: Path) -> None:
    """Create ``directory`` with mode 0700, or check that nobody else can write to it.

    Whoever may write there can announce himself as any service. Raises ``RegistryError`` with
    what mends it, or the ``OSError`` if it can't be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if problem := objection(directory, directory.lstat(), "SEAWALL_REGISTRY=local://"):
        raise RegistryError(problem)
