"""What a process holds of memory, and who holds it: our objects, C code, or the allocator."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import Any, Final

_MIB: Final = 1 << 20


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later; sums over all arenas."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def memory() -> dict[str, int]:
    """Once garbage is collected and what is free has been given back, in MiB but for ``blocks``:

    ``memory``: resident and private, so without the pages of libraries. ``used``: what C code has
    of malloc. ``free``: what malloc has been given back and keeps for the next. ``blocks``: what
    Python's own allocator has handed out, in thousands.
    """
    gc.collect()
    library: Any = ctypes.CDLL(None)
    library.malloc_trim(0)
    library.mallinfo2.restype = _Mallinfo
    held = library.mallinfo2()
    return {
        "memory": _private() // _MIB,
        "used": (held.uordblks + held.hblkhd) // _MIB,
        "free": held.fordblks // _MIB,
        "blocks": sys.getallocatedblocks() // 1000,
    }


def _private() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split(maxsplit=1)[0]) * 1024
