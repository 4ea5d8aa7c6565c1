"""Service configs that are replaced while calls run: from a file, or from the registry.

A document that is no good is refused, and the last good one stays in force; an event says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from seawall.config import ServiceConfig, load_service_config, text_of
from seawall.errors import ConfigError, RegistryError
from seawall.events import ConfigRefused, ConfigReplaced, Listener
from seawall.registry.base import Registry

FROM_REGISTRY: Final = "registry"
"""In the place of a path: each service's config is the one that its registry holds beside it."""

LOOK_EVERY: Final = 1.0
"""Seconds between looks at a file. Asking the kernel to tell would miss what is changed on network
file systems and by replacing a directory's link, as Kubernetes does; and its times and its size
would miss what is written twice in one tick of the disk's clock. Reading it costs 0.2 ms."""

ASK_AGAIN: Final = 5.0
"""Seconds until a registry that has refused is asked again."""

Adopt = Callable[[ServiceConfig], None]

_log = logging.getLogger("seawall.config")
_UNSEEN: Final = object()


async def follow_file(path: str, known: ServiceConfig, adopt: Adopt, listener: Listener) -> None:
    """Call ``adopt`` with each new good content of the file at ``path``, for ever.

    ``known`` is what the caller has read there, perhaps long ago. A file that has gone changes
    nothing.
    """
    from seawall.registry.snapshots.thread import in_thread  # not needed by most

    judge = _Judge(f"service config file {path}", known, adopt, listener)
    while True:
        try:
            # The file's disk may hang; the end of the process must not.
            text = await in_thread(partial(text_of, path), _nothing)
        except ConfigError as error:
            judge.unseen(f"it {error.problem}")
        except RuntimeError as error:  # the system has no more threads
            judge.unseen(f"it can't be read: {error}")
        else:
            await judge.examine(text)
        await asyncio.sleep(LOOK_EVERY)


async def follow_registry(
    registry: Registry, service: str, known: ServiceConfig, adopt: Adopt, listener: Listener
) -> None:
    """Call ``adopt`` with each good config that ``registry`` holds for ``service``, for ever; with
    the defaults when it holds none any more. ``known`` is in force until the first."""
    judge = _Judge(f"service config of {service} in {registry.url}", known, adopt, listener)
    while True:
        try:
            async with contextlib.aclosing(registry.configs(service)) as texts:
                async for text in texts:
                    await judge.examine(text)
            return  # it holds no configs, or is closed
        except RegistryError as problem:
            judge.unseen(str(problem))
        except Exception as error:  # a registry of the user's own
            _log.exception("the config of %s can't be watched; it is tried again", service)
            judge.unseen(repr(error))
        await asyncio.sleep(ASK_AGAIN)


class _Judge:
    """Tells good documents from bad ones, and each once."""

    def __init__(self, source: str, known: ServiceConfig, adopt: Adopt, listener: Listener) -> None:
        self._source = source
        self._known = known
        """What is in force."""
        self._adopt = adopt
        self._listener = listener
        self._seen: object = _UNSEEN
        """The last document, good or not."""
        self._refused: str | None = None
        """Why the last one was refused; None = it wasn't."""

    async def examine(self, text: str | None) -> None:
        """Look at a document; None is none, and the defaults."""
        if text == self._seen:
            return
        self._seen = text
        try:
            # It may be long: in a thread, calls go on meanwhile.
            config, is_known = await asyncio.to_thread(_config_of, text, self._known)
            if not is_known:
                self._adopt(config)
        except ConfigError as problem:
            self.refuse(str(problem))
        except Exception as error:  # a balancer of the user's own can't be read, or be made
            _log.exception("a %s can't be put in force", self._source)
            self.refuse(f"it can't be put in force: {error!r}")
        else:
            if not is_known or self._refused is not None:
                self._known, self._refused = config, None
                self._listener(ConfigReplaced(self._source))

    def unseen(self, problem: str) -> None:
        """There is no document to look at."""
        self._seen = _UNSEEN
        self.refuse(problem)

    def refuse(self, problem: str) -> None:
        if problem != self._refused:
            self._refused = problem
            self._listener(ConfigRefused(self._source, problem))


def _nothing() -> None:
    """Who isn't told."""


def _config_of(text: str | None, known: ServiceConfig) -> tuple[ServiceConfig, bool]:
    """What a document says, and whether that is what is known."""
    if text is not None and not text.lstrip().startswith("{"):
        raise ConfigError("", "it must be a JSON object")  # it would be taken for a path
    config = load_service_config(text)
    return config, config == known
