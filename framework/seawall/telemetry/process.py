"""What the process itself uses, as far as its system says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from seawall.telemetry.catalogue import CPU_TIME, MEMORY, OPEN_FILES, UPTIME
from seawall.telemetry.store import Reading


class Process:
    """This process."""

    def __init__(self) -> None:
        self._began = _start_time()

    def readings(self) -> Iterator[Reading]:
        yield CPU_TIME, (), time.process_time()
        yield UPTIME, (), time.monotonic() - self._began
        with suppress(OSError, ValueError, IndexError):  # there is no /proc everywhere
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            yield MEMORY, (), pages * os.sysconf("SC_PAGE_SIZE")
        with suppress(OSError):
            yield OPEN_FILES, (), len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208


def _start_time() -> float:
    """When the process began, on the monotonic clock; now, where the system doesn't say."""
    now = time.monotonic()
    try:
        # The name, in brackets, may hold anything; the start is the 22nd field of the line.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return min(now, now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks))
    except (OSError, ValueError, IndexError, AttributeError):
        return now
