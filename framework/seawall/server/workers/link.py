"""A worker's end of what leads to its supervisor.

A worker never outlives the supervisor: when that has died, however, the pair of sockets between
them closes, and the worker leaves as at SIGTERM; if it can't, it is ended after its grace.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from seawall.supervisor import protocol
from seawall.supervisor.protocol import Job

_log = logging.getLogger("seawall.server")
_UNTOLD: Final = 10.0
"""Seconds to leave before the grace is known."""


class Link:
    """The worker's end of what leads to the supervisor."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._stop_within = _UNTOLD
        self._directory = ""
        self._orphaned = False

    def job(self) -> Job:
        """What is to be done. Exits if the supervisor has died before it could say."""
        line = bytearray()
        while not line.endswith(b"\n"):
            more = self._end.recv(65536)
            if not more:
                sys.exit(1)
            line += more
        job = Job.decode(bytes(line))
        self._directory = job.directory
        return job

    def watch(self) -> None:
        """From now on leave when the supervisor dies."""
        threading.Thread(target=self._wait, name="seawall-supervisor", daemon=True).start()

    def serving(self, address: str, stop_within: float) -> None:
        """Tell that this process serves."""
        self._stop_within = stop_within
        self._say(protocol.serving(address, stop_within))

    def leaving(self) -> None:
        """Tell that this process is about to leave."""
        self._say(protocol.LEAVING)

    def close(self) -> None:
        """The last thing that is done. Where the supervisor has died, the last one tidies up."""
        if self._orphaned:
            with suppress(OSError):  # others are still there
                Path(self._directory).rmdir()

    def _say(self, line: bytes) -> None:
        with suppress(OSError):  # nobody is there: ``_wait`` knows
            self._end.sendall(line)

    def _wait(self) -> None:
        with suppress(OSError):
            while self._end.recv(4096):
                pass
        self._orphaned = True
        _log.warning("the supervisor has died: leaving")
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            time.sleep(self._stop_within)
        finally:
            os._exit(1)
