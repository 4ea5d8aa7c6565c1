"""Runs one service of the shop as the demo does: ``python -m services.run services.orders:Orders``.

Beside ``seawall run`` it sets up the demo's tracing, and sees to it that no service outlives the
demo that started it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from typing import Final

from services import traces

PARENT: Final = "SHOP_PARENT"
"""Environment: the process without which this one has no reason to live."""
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def die_with_parent() -> None:
    """Be killed when the process named by ``SHOP_PARENT`` dies, however it dies (Linux)."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before we asked to be told
        sys.exit(1)


def main() -> None:
    if len(sys.argv) != 2 or ":" not in sys.argv[1]:
        sys.exit("usage: python -m services.run MODULE:CLASS")
    die_with_parent()
    module, _, name = sys.argv[1].partition(":")
    traces.set_up(os.environ.get("SHOP_INSTANCE", name.lower()))
    getattr(importlib.import_module(module), name).run()


if __name__ == "__main__":
    main()
