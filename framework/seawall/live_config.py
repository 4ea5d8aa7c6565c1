"""Service configs that are replaced while calls run: from a file, or from the registry.

A document that is no good is refused, and the last good one stays in force; an event says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from seawall.config import ServiceConfig, load_service_config
from seawall.errors import ConfigError, RegistryError
from seawall.events import ConfigRefused, ConfigReplaced, Listener
from seawall.registry.base import Registry

FROM_REGISTRY: Final = "registry"
"""In the place of a path: each service's config is the one that its registry holds beside it."""

LOOK_EVERY: Final = 1.0
"""Seconds between looks at a file. Asking the kernel to tell would miss what is changed on network
file systems and by replacing a directory's link, as Kubernetes does."""

ASK_AGAIN: Final = 5.0
"""Seconds until a registry that has refused is asked again."""

_LARGEST: Final = 4 * 1024 * 1024
"""Bytes; no policy is as long, and it is read into memory."""

Adopt = Callable[[ServiceConfig], None]
_Stamp = tuple[int, int, int] | None

_log = logging.getLogger("seawall.config")


async def follow_file(path: Path, adopt: Adopt, listener: Listener) -> None:
    """Call ``adopt`` with each new good content of the file at ``path``, for ever.

    What is there now has been read by the caller. A file that has gone changes nothing.
    """
    judge = _Judge(f"service config file {path}", adopt, listener)
    seen: _Stamp = None
    with contextlib.suppress(ConfigError):
        judge.told = await asyncio.to_thread(_text_of, path)
        seen = await asyncio.to_thread(_stamp_of, path)
    while True:
        await asyncio.sleep(LOOK_EVERY)
        stamp = await asyncio.to_thread(_stamp_of, path)
        if stamp == seen:
            continue
        seen = stamp
        try:
            judge.examine(await asyncio.to_thread(_text_of, path))
        except ConfigError as problem:
            judge.refuse(str(problem))


async def follow_registry(
    registry: Registry, service: str, adopt: Adopt, listener: Listener
) -> None:
    """Call ``adopt`` with each good config that ``registry`` holds for ``service``, for ever; with
    the defaults when it holds none any more."""
    judge = _Judge(f"service config of {service} in {registry.url}", adopt, listener)
    while True:
        try:
            async with contextlib.aclosing(registry.configs(service)) as texts:
                async for text in texts:
                    judge.examine(text)
            return  # it holds no configs, or is closed
        except RegistryError as problem:
            judge.refuse(str(problem))
        except Exception as error:  # a registry of the user's own
            _log.exception("the config of %s can't be watched; it is tried again", service)
            judge.refuse(repr(error))
        await asyncio.sleep(ASK_AGAIN)


class _Judge:
    """Tells good documents from bad ones, and each once."""

    def __init__(self, source: str, adopt: Adopt, listener: Listener) -> None:
        self._source = source
        self._adopt = adopt
        self._listener = listener
        self._refused: str | None = None
        self.told: str | None = None
        """The last document, good or not; None = none."""

    def examine(self, text: str | None) -> None:
        if text == self.told:
            return
        self.told = text
        try:
            config = load_service_config(None if text is None else _object(text))
        except ConfigError as problem:
            self.refuse(str(problem))
            return
        self._refused = None
        self._adopt(config)
        self._listener(ConfigReplaced(self._source))

    def refuse(self, problem: str) -> None:
        if problem != self._refused:
            self._refused = problem
            self._listener(ConfigRefused(self._source, problem))


def _object(text: str) -> str:
    """``text``, unless it would be taken for a path."""
    if not text.lstrip().startswith("{"):
        raise ConfigError("", "it must be a JSON object")
    return text


def _stamp_of(path: Path) -> _Stamp:
    """What changes when the file does; None if there is none to look at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigError("", f"it has more than {_LARGEST} bytes")
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError("", "it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError("", f"it can't be read: {error.strerror}") from None
