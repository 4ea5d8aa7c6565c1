"""No process outlives the benchmark, however that ends: ``python -m bench.peers.orphan PID CMD``.

Beside it the processes end with their stdin; but a frozen one would not notice, and Envoy does not
read its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def die_with(parent: int) -> None:
    """Have this process killed when ``parent``, which started it, dies (Linux; else nothing)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
