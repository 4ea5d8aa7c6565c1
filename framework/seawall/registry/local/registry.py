"""``LocalRegistry``: the registry of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from seawall.call import Instance, Update
from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import (
    Event,
    Listener,
    MalformedEntry,
    RegistrationRestored,
    RegistryLost,
    RegistryRegained,
    ignore,
)
from seawall.registry.base import Registration, Registry
from seawall.registry.board import Board
from seawall.registry.local import directory
from seawall.registry.local.entry import encode
from seawall.registry.local.files import OwnFile
from seawall.registry.local.shelf import Shelf

_log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 5.0
"""Seconds until a directory that can't be used is tried again: doubled each time, jittered."""

_REFUSALS: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ENOLCK,
        errno.ENOTSUP,
    }
)
"""What does not mend itself; a full disk or too many open files may."""


class LocalRegistry(Registry):
    """Every process keeps one locked file in a directory; the kernel drops the lock at its death.

    ``local://`` means ``$XDG_RUNTIME_DIR/seawall``, or ``<tempdir>/seawall-<uid>`` if that is not
    set; ``local:///path`` names the directory. It is created with mode 0700, and refused if it
    belongs to somebody else or others can write to it (``RegistryError`` at first use). Raises
    ``ConfigError`` for anything else in the URL.
    """

    def __init__(self, url: str, listener: Listener = ignore) -> None:
        self.url = url
        self.listener = listener
        self._directory = directory.parse(url)
        self._board = Board()
        self._shelf = Shelf(
            self._directory, self._board, self._check_own, self._lost, self._malformed
        )
        self._registrations: dict[str, _LocalRegistration] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = asyncio.Event()
        self._closed = False
        self._lost_at: float | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._delay = _FIRST_RETRY

    async def register(self, instances: Sequence[Instance]) -> Registration:
        data = encode(instances)
        self._open()
        registration = _LocalRegistration(self, OwnFile(self._directory), data)
        try:
            registration.put()
        except OSError as error:
            await registration.close()
            raise self._error(error) from error
        self._registrations[registration.name] = registration
        return registration

    async def watch(self, service: str) -> AsyncGenerator[Update, None]:
        if self._closed:
            return
        try:
            self._open()
        except RegistryUnavailable as error:
            self._away(error)
        await self._ready.wait()
        if self._closed:
            return
        async with aclosing(self._board.watch(service, self)) as listings:
            async for listing in listings:
                yield listing

    async def close(self) -> None:
        self._closed = True
        for registration in tuple(self._registrations.values()):
            await registration.close()
        if self._shelf.is_open:
            self._shelf.close()
        if self._retry is not None:
            self._retry.cancel()
        self._board.end(self)
        self._ready.set()

    def _open(self) -> None:
        """Follow the directory, if that isn't done yet. Raises ``RegistryError``."""
        if self._closed:
            raise RegistryError(f"{self.url} is closed")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RegistryError(f"{self.url} is in use by another event loop; open one for each")
        self._loop = loop
        if self._shelf.is_open:
            return
        try:
            self._connect()
        except OSError as error:
            raise self._error(error) from error

    def _connect(self) -> None:
        directory.secure(self._directory)
        self._shelf.open()
        self._ready.set()
        self._regained()

    def _lost(self, error: OSError | None) -> None:
        """The directory was deleted, or can't be read any more."""
        self._shelf.close()
        if error is None:
            self._try_again()
        else:
            self._away(self._error(error))

    def _away(self, problem: RegistryError) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        if self._lost_at is None:
            self._lost_at = loop.time()
            self.problem = str(problem)
            self._tell(RegistryLost(self.url, self.problem))
        if self._retry is None:
            delay = self._delay * random.uniform(0.8, 1.2)
            self._retry = loop.call_later(delay, self._try_again)
            self._delay = min(2 * self._delay, _LAST_RETRY)

    def _try_again(self) -> None:
        self._retry = None
        if self._closed or self._shelf.is_open:
            return
        try:
            self._connect()
        except OSError as error:
            self._away(self._error(error))
        except RegistryError as error:
            self._away(error)

    def _regained(self) -> None:
        if self._lost_at is None:
            return
        outage = asyncio.get_running_loop().time() - self._lost_at
        self._lost_at, self.problem, self._delay = None, None, _FIRST_RETRY
        self._tell(RegistryRegained(self.url, outage))

    def _check_own(self, names: set[str] | None) -> None:
        """Put back what somebody else has removed. Raises ``OSError``."""
        for name in self._registrations.keys() if names is None else names:
            registration = self._registrations.get(name)
            if registration is not None and not registration.intact:
                registration.put()
                reason = f"its file {name} was deleted or replaced by somebody else"
                self._tell(RegistrationRestored(self.url, reason))

    def _malformed(self, path: Path, problem: str) -> None:
        self._tell(MalformedEntry(self.url, str(path), problem))

    def _tell(self, event: Event) -> None:
        """Tell the listener. What it raises must not stop us: it is logged."""
        try:
            self.listener(event)
        except Exception:
            _log.exception("the listener of %s failed on %r", self.url, event)

    def _error(self, error: OSError) -> RegistryError:
        kind = RegistryError if error.errno in _REFUSALS else RegistryUnavailable
        return kind(
            f"{self.url}: the directory {self._directory} can't be used "
            f"({error.strerror or error}): mend that, or name another one on a local disk, "
            "SEAWALL_REGISTRY=local:///path"
        )


class _LocalRegistration(Registration):
    def __init__(self, registry: LocalRegistry, file: OwnFile, data: bytes) -> None:
        self._registry = registry
        self._file = file
        self._data = data
        self._closed = False

    @property
    def name(self) -> str:
        return self._file.path.name

    @property
    def intact(self) -> bool:
        return self._file.intact

    def put(self) -> None:
        """Write the file, and see it at once in our own lists."""
        self._file.put(self._data)
        self._registry._shelf.look(self.name)

    async def update(self, instances: Sequence[Instance]) -> None:
        """If this raises ``RegistryUnavailable``, it is announced as soon as that is possible."""
        if self._closed:
            raise RegistryError("this registration is closed")
        self._data = encode(instances)
        try:
            self.put()
        except OSError as error:
            self._registry._lost(error)
            raise self._registry._error(error) from error

    async def close(self) -> None:
        self._closed = True
        self._registry._registrations.pop(self.name, None)
        with contextlib.suppress(OSError):  # unlocked all the same, so the next reader removes it
            self._file.remove()
        self._registry._shelf.drop(self.name)
