"""What the thread of an event loop runs at this moment: which handler, and where in it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

_DEBUGGERS: Final = frozenset({"bdb", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval"})
"""Modules that are on the stack of a thread that somebody has stopped to look at it."""
_DEEPEST: Final = 30
"""Innermost frames that are shown: a recursion may be a thousand deep."""
_MADE_UP: Final = re.compile(r"Task-\d+|\w+\[/.*\]")


@dataclass(frozen=True, slots=True)
class Position:
    """A frame of a stack, as it was when it was looked at."""

    module: str
    file: str
    name: str
    """The function's qualified name: ``Inventory.GetStock``."""
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a loop was running: the frames above its own, outermost first; none = its own code."""

    positions: tuple[Position, ...]
    entry: FrameType | None = None
    """The frame that the loop itself called. While it is the same one, one callback runs: a loop
    resumes a coroutine once in a turn."""

    @property
    def culprit(self) -> Position | None:
        """The handler, or what else the loop was given to run; None = the loop's own code.

        What stands round a handler is the framework's, and not to blame.
        """
        for position in self.positions:
            if not position.module.startswith("seawall."):
                return position
        return self.positions[-1] if self.positions else None

    @property
    def debugged(self) -> bool:
        """Whether a debugger holds the thread."""
        return any(p.module.partition(".")[0] in _DEBUGGERS for p in self.positions)

    def format(self) -> str:
        """As in a traceback, innermost last. Reads source files."""
        shown = self.positions[-_DEEPEST:]
        lines = traceback.format_list([(p.file, p.line, p.name, None) for p in shown])
        return "".join(lines).rstrip("\n")


def depth(frame: FrameType | None) -> int:
    """How many frames ``frame`` and those that called it are."""
    count = 0
    while frame is not None:
        count, frame = count + 1, frame.f_back
    return count


def sample(thread: int, beneath: int) -> Sample:
    """What ``thread`` runs now, less the outermost ``beneath`` frames, which are the loop's own.

    The thread goes on meanwhile: whoever asks must know by other means whether it was still at it.
    """
    frames: list[tuple[FrameType, int]] = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        frames.append((frame, frame.f_lineno or 0))
        frame = frame.f_back
    frames.reverse()
    above = frames[beneath:]
    return Sample(_positions(above), above[0][0] if above else None)


def named(task: str) -> str:
    """A task's name if somebody has given it one; empty = asyncio or gRPC made it up."""
    return "" if _MADE_UP.fullmatch(task) else task


def _positions(frames: Sequence[tuple[FrameType, int]]) -> tuple[Position, ...]:
    return tuple(
        Position(
            str(frame.f_globals.get("__name__", "")),
            frame.f_code.co_filename,
            frame.f_code.co_qualname,
            line,
        )
        for frame, line in frames
    )
