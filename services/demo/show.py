"""How the demo is going, while it goes: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from services.demo.report import milliseconds

EVERY: Final = 4.0
"""Seconds between two lines of progress where there is no terminal."""

Progress = Mapping[str, Any]
"""``calls`` and ``failed`` so far, and ``p99`` of the last 200 calls in seconds."""


class Lines:
    """Plain lines. A context manager, as its sibling is."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._next = EVERY
        self._progress: dict[str, Progress] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def begin(self) -> None:
        """The load starts now."""
        self._start = time.monotonic()

    def say(self, fault: str, text: str) -> None:
        """Something was done to the fleet, or became of it."""
        self._print(f"{self._now():5.1f} s  {fault:<14}  {text}")

    def note(self, text: str) -> None:
        """Something that is no fault."""
        self._print(text)

    def progress(self, side: str, progress: Progress) -> None:
        """How one side is doing."""
        self._progress[side] = progress
        if self._now() >= self._next:
            self._next = self._now() + EVERY
            told = "    ".join(_told(name, of) for name, of in sorted(self._progress.items()))
            self._print(f"{self._now():5.1f} s  {'':14}  {told}")

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _told(side: str, progress: Progress) -> str:
    p99 = milliseconds(progress["p99"])
    return f"{side}: {progress['calls']} calls, {progress['failed']} failed, p99 now {p99}"


class Live(Lines):
    """The same lines, above a table that is kept up to date. Needs ``rich``."""

    def __init__(self) -> None:
        from rich.live import Live as RichLive

        super().__init__()
        self._fault = "starting"
        self._live = RichLive(transient=True, refresh_per_second=4, get_renderable=self._table)

    def __enter__(self) -> Lines:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, fault: str, text: str) -> None:
        self._fault = fault
        super().say(fault, text)

    def progress(self, side: str, progress: Progress) -> None:
        self._progress[side] = progress

    def _print(self, text: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(text))

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(title=f"{self._now():.0f} s: {self._fault}", title_justify="left")
        for head in ("", "calls", "failed", "p99 now"):
            table.add_column(head, justify="right" if head else "left")
        for side, of in sorted(self._progress.items()):
            colour = "red" if of["failed"] else "green"
            failed = f"[{colour}]{of['failed']}[/]"
            table.add_row(side, str(of["calls"]), failed, milliseconds(of["p99"]))
        return table


def display() -> Lines:
    """The live one if this is a terminal and ``rich`` is installed."""
    if sys.stdout.isatty():
        try:
            return Live()
        except ImportError:
            pass
    return Lines()
