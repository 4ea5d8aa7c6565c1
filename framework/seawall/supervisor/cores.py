"""How many cores this process may use: what ``--workers auto`` means."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_MINE: Final = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that the affinity and the CPU quota of the control group leave; at least 1.

    A quota of 1.5 cores is 2: half a core would lie idle otherwise.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = quota()
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def quota(groups: Path = _GROUPS, mine: Path = _MINE) -> float | None:
    """The least CPU quota, in cores, of this process's control group and those above it.

    None = unlimited, or there are no control groups. Reads versions 1 and 2.
    """
    try:
        lines = mine.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers or "cpu" in controllers.split(","):
            limits += list(_limits(groups / controllers, path))
    return min(limits, default=None)


def _limits(root: Path, path: str) -> Iterator[float]:
    """In a container the path may be the host's, of which only the root can be seen."""
    for part in (Path(path), *Path(path).parents):
        group = root / str(part).lstrip("/")
        with suppress(OSError, ValueError, ZeroDivisionError):
            most, period = _figures(group)
            if most > 0:
                yield most / period


def _figures(group: Path) -> tuple[float, float]:
    """Microseconds of CPU in each period of so many. Raises ``OSError``, ``ValueError``."""
    with suppress(FileNotFoundError):
        most, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return float(-1 if most == "max" else most), float(period)
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    most, period = ((group / name).read_text(encoding="ascii") for name in names)
    return float(most), float(period)
