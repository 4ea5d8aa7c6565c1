"""How much free memory the C library keeps for itself."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

MOST: Final = 2
"""glibc's own is eight a core. Only one thread at a time runs Python, so more than two serve gRPC's
few threads alone; and what each arena has been given back it keeps. After 75 s of churn a server
held 38 MiB with two and 85 with the default, of which it used 10 (``bench.churn``)."""

_M_ARENA_MAX: Final = -8
"""In ``malloc.h``."""


def keep_few() -> None:
    """Have malloc use two arenas in this process, unless the environment says how many.

    For the process that serves and does nothing else: it holds for all that is in it. Libraries
    other than glibc have no such thing, and are left alone.
    """
    said = os.environ.get("MALLOC_ARENA_MAX") or "arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if not said:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MOST)
