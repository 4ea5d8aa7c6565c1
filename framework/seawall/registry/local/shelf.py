"""Follows a directory: what its files say is kept on the board, while their owners live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from seawall.registry.board import Board
from seawall.registry.local import files
from seawall.registry.local.entry import Malformed, decode
from seawall.registry.local.inotify import DIRECTORY_GONE, Happened, Inotify, Notice

POLL: Final = 0.5
"""Seconds between two looks at every file where there is no inotify."""
SWEEP: Final = 10.0
"""Seconds between two looks at every file where there is, lest something was not told."""
CLOSING: Final = (0.002, 0.01, 0.05, 0.25)
"""Seconds after which a file that was closed is looked at again: the kernel tells of the close
a moment before it drops the lock."""
LINGER: Final = 1.0
"""Seconds for which a file that was deleted by another hand than its owner's stays known: its
owner, if he lives, puts it back within some milliseconds."""


class Shelf:
    """Reads one directory into a board, at first whole and then what changes.

    ``changed`` is called with the names that something happened to (None = look at all), and
    ``lost`` with the error when the directory can't be read, or None when it was deleted, and
    ``malformed`` with the path of what can't be understood and why.
    """

    def __init__(
        self,
        directory: Path,
        board: Board,
        changed: Callable[[set[str] | None], None],
        lost: Callable[[OSError | None], None],
        malformed: Callable[[Path, str], None],
    ) -> None:
        self.directory = directory
        self.is_open = False
        self._board = board
        self._changed = changed
        self._lost = lost
        self._malformed = malformed
        self._inotify: Inotify | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._lingering: set[str] = set()
        self._stamps: dict[str, files.Stamp] = {}
        self._told: dict[str, str] = {}

    def open(self) -> None:
        """Read what is there and follow it. Raises ``OSError`` if it can't be read."""
        try:
            self._inotify = Inotify(self.directory)
        except OSError:
            self._inotify = None  # not Linux, or its limit is used up: poll
        self.is_open = True
        try:
            self._sweep()
        except BaseException:
            self.close()
            raise
        if self._inotify is not None:
            asyncio.get_running_loop().add_reader(
                self._inotify.fileno(), self._guarded, self._noticed
            )

    def close(self) -> None:
        """Stop following. What was read stays on the board."""
        self.is_open = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._lingering.clear()
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def look(self, name: str) -> None:
        """Bring the board up to date with one file. Raises ``OSError``."""
        if not files.NAME.fullmatch(name):
            self._foreign(name)
            return
        path = self.directory / name
        match files.look(path, self._stamps.get(name)):
            case files.Alive(stamp, data):
                self._lingering.discard(name)
                if data is not None:
                    self._take(name, stamp, data)
            case files.Dead():
                self.drop(name)
                files.remove(path)
            case files.Unreadable(problem):
                self.drop(name)
                self._tell_once(name, problem)
            case files.Gone():
                self._told.pop(name, None)
                self._linger(name)

    def drop(self, name: str) -> None:
        """Take a file from the board: it has gone for good."""
        self._board.remove(name)
        self._stamps.pop(name, None)
        self._lingering.discard(name)

    def _sweep(self) -> None:
        names = {entry.name for entry in self.directory.iterdir()}
        for name in sorted(names.union(self._board.keys, self._stamps, self._told)):
            self.look(name)
        files.remove_leftovers(self.directory)
        self._later(POLL if self._inotify is None else SWEEP, self._sweep)
        self._changed(None)

    def _noticed(self) -> None:
        notices = self._inotify.read() if self._inotify is not None else []
        if any(notice.what & DIRECTORY_GONE for notice in notices):
            self._lost(None)
            return
        if any(notice.what & Happened.OVERFLOW for notice in notices):
            self._sweep()
        names = {notice.name for notice in notices if notice.name}
        for name in sorted(names):
            self.look(name)
        self._after(notices)
        self._changed(names)

    def _after(self, notices: list[Notice]) -> None:
        """What else follows from a goodbye, and from a close that may be a death."""
        for notice in notices:
            if notice.what & Happened.MOVED_FROM and notice.name in self._lingering:
                self.drop(notice.name)
            if notice.what & Happened.CLOSE_WRITE and notice.name in self._stamps:
                for delay in CLOSING:
                    self._later(delay, self.look, notice.name)

    def _take(self, name: str, stamp: files.Stamp, data: bytes) -> None:
        self._stamps[name] = stamp
        try:
            instances, problem = decode(data)
        except Malformed as error:
            self._board.remove(name)
            self._malformed(self.directory / name, str(error))
            return
        self._board.put(name, instances)
        if problem:
            self._malformed(self.directory / name, problem)

    def _linger(self, name: str) -> None:
        if name in self._stamps and name not in self._lingering:
            self._lingering.add(name)
            self._later(LINGER, self._expire, name)

    def _expire(self, name: str) -> None:
        if name in self._lingering:
            self.drop(name)

    def _foreign(self, name: str) -> None:
        if name.startswith("."):
            return  # our own, half made, or some editor's
        if (self.directory / name).is_dir():
            return  # the default directory holds that of the servers' Unix sockets, too
        if (self.directory / name).exists():
            self._tell_once(name, "is not a registration's file")
        else:
            self._told.pop(name, None)

    def _tell_once(self, name: str, problem: str) -> None:
        if self._told.get(name) != problem:
            self._told[name] = problem
            self._malformed(self.directory / name, problem)

    def _later(self, delay: float, action: Callable[..., None], *arguments: str) -> None:
        def run() -> None:
            self._timers.discard(timer)
            self._guarded(action, *arguments)

        timer = asyncio.get_running_loop().call_later(delay, run)
        self._timers.add(timer)

    def _guarded(self, action: Callable[..., None], *arguments: str) -> None:
        """Run what the loop calls: an error of the system must not end the following."""
        try:
            action(*arguments)
        except OSError as error:
            self._lost(error)
