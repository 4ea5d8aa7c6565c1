"""The last good lists of one registry, on disk; nothing here raises because of the disk."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from seawall.call import Instance
from seawall.events import Event, SnapshotFailed, SnapshotRefused
from seawall.registry.snapshots import files
from seawall.registry.snapshots.format import (
    MAX_SIZE,
    Malformed,
    Snapshot,
    decode,
    encode,
    file_name,
)
from seawall.registry.snapshots.place import SETTING
from seawall.registry.snapshots.thread import in_thread

T = TypeVar("T")

MAX_AGE: Final = 24 * 3600.0
"""Seconds for which a list is worth trying: over a night, and not longer than addresses usually
stay with their owners. After that somebody else may have them."""
MOST_THREADS: Final = 4
"""Of one registry: a disk that hangs must not collect more."""
SKEW: Final = 300.0
"""Seconds by which a list may be from the future: a clock that was set back a little."""

_log = logging.getLogger(__name__)


class Store:
    """Reads and writes the lists of the registry that is named ``identity``.

    ``tell`` is given an event when the disk or a file is no good, once for each problem.
    """

    def __init__(self, directory: Path, identity: str, tell: Callable[[Event], None]) -> None:
        self.directory = directory
        self._identity = identity
        self._tell = tell
        self._turn = asyncio.Lock()
        """One job at a time."""
        self._threads = 0
        """How many haven't ended; those of jobs that were given up count too."""
        self._told: set[tuple[Path, str]] = set()
        """What was refused, and why."""
        self._failing: set[str] = set()
        """Services whose lists could not be written the last time."""
        self._swept = False

    async def load(self, service: str) -> Snapshot | None:
        """The last good list of ``service``, if there is one that can be trusted."""
        try:
            return await self._in_turn(lambda: self._load(service))
        except Exception as error:
            self._refuse(self.directory / self._name(service), error)
            return None

    async def save(
        self, service: str, instances: tuple[Instance, ...], known_at: float
    ) -> float | None:
        """Keep a list that the registry had at ``known_at`` (seconds since 1970); an empty one
        as none. Returns the processor's seconds that it took; None if it failed."""
        try:
            spent = await self._in_turn(lambda: self._save(service, instances, known_at))
        except files.Untrusted as error:
            self._refuse(error.path, error)
            return None
        except Exception as error:
            self._fail(service, error)
            return None
        self._failing.discard(service)
        return spent

    async def fresh(self, service: str, limit: float) -> bool:
        """Whether anybody has written the list of ``service`` in the last ``limit`` seconds."""
        try:
            age = await self._in_turn(
                lambda: files.age(self.directory, self._name(service), time.time())
            )
        except Exception:
            return False  # what is wrong will be told when it is written
        return age is not None and 0 <= age < limit

    async def _in_turn(self, work: Callable[[], T]) -> T:
        async with self._turn:
            if self._threads >= MOST_THREADS:
                raise OSError(errno.EBUSY, "its disk hangs")
            self._threads += 1
            return await in_thread(work, self._ended)

    def _ended(self) -> None:
        self._threads -= 1

    def _load(self, service: str) -> Snapshot | None:
        data = files.read(self.directory, self._name(service))
        if data is None:
            return None
        snapshot = decode(data, self._identity, service)
        age = time.time() - snapshot.saved_at
        when = _date(snapshot.saved_at)
        if age > MAX_AGE:
            raise Malformed(f"it is of {when}, and none is used after {MAX_AGE / 3600:.0f} h")
        if age < -SKEW:
            raise Malformed(f"it is of {when}, in the future: is this machine's clock right?")
        return snapshot

    def _save(self, service: str, instances: tuple[Instance, ...], known_at: float) -> float:
        began = time.thread_time()
        if not self._swept:
            self._swept = True
            files.sweep(self.directory, time.time(), MAX_AGE)
        data = encode(self._identity, service, instances, known_at)
        if data is None:
            files.remove(self.directory, self._name(service))
        elif len(data) > MAX_SIZE:
            raise ValueError(f"the list of {service} takes {len(data)} bytes, above {MAX_SIZE}")
        else:
            files.write(self.directory, self._name(service), data)
        return time.thread_time() - began

    def _name(self, service: str) -> str:
        return file_name(self._identity, service)

    def _refuse(self, path: Path, error: Exception) -> None:
        if isinstance(error, files.Untrusted):
            path, problem = error.path, str(error)
        elif isinstance(error, Malformed):
            problem = str(error)
        else:
            problem = f"it can't be read ({_words(error)}): remove it"
        if (path, problem) not in self._told:
            self._told.add((path, problem))
            self._tell(SnapshotRefused(str(path), problem))

    def _fail(self, service: str, error: Exception) -> None:
        if not self._failing:
            problem = (
                f"it can't be written to ({_words(error)}): mend that, or set "
                f"{SETTING}/path/of/yours, or {SETTING}off"
            )
            self._tell(SnapshotFailed(str(self.directory), problem))
        self._failing.add(service)


def _date(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    except (ValueError, OverflowError, OSError):
        return f"second {at:g}"


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not isinstance(error, ValueError | RuntimeError):
        _log.error("a mistake of seawall's own", exc_info=error)
    return str(error) or repr(error)
