"""A worker's process: ``python -m seawall.server.workers.worker FD``, started by a supervisor."""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from seawall.server.running import run_job
from seawall.server.workers.link import Link

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def main() -> NoReturn:
    """Do the job that the supervisor sends, then exit."""
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)  # else a program that the service starts keeps it open
    link = Link(end)
    _die_with_parent()
    for number in (signal.SIGINT, signal.SIGHUP):
        # A terminal sends them to all its processes; the supervisor decides what they mean.
        # Not SIG_IGN, which programs that the service starts would inherit.
        signal.signal(number, _nothing)
    job = link.job()
    link.watch()
    sys.path[:] = job.path
    run_job(job, link)


def _nothing(number: int, frame: object) -> None:
    pass


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies (Linux): before Python can."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main()
