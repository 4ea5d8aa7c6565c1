"""What the supervisor knows of each process, and of each worker through all its processes."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

from seawall.supervisor.restarts import BackOff
from seawall.supervisor.signs import WorkerId

IN_ORDER = (0, -signal.SIGTERM)
"""What a process ends with that leaves as it is asked to. By SIGTERM itself if it was asked before
it came to handle signals."""


class Phase(Enum):
    """Where a process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"


@dataclass(slots=True)
class Process:
    """One process of a worker."""

    worker: WorkerId
    since: float
    """When it was started."""
    deadline: float | None
    """When it is killed: that of its start or that of its leaving."""
    stop_within: float
    """Seconds that it may take to leave."""
    phase: Phase = Phase.STARTING
    pid: int = 0
    served_at: float | None = None
    asked: bool = False
    """Whether it was told to leave."""
    killed: str = ""
    """Why it was killed from here, in words."""

    def served(self, now: float) -> float:
        """Seconds for which it has served."""
        return 0.0 if self.served_at is None else now - self.served_at

    def reason(self, status: int | None, problem: str) -> str:
        """In words, what it ended with."""
        if problem or status is None:
            return f"could not be started: {problem}"
        if self.killed:
            return self.killed
        if status < 0:
            return f"was killed by {name_of(-status)}"
        return f"exited with status {status}" if status else "left by itself"

    def killed_from_outside(self, status: int | None) -> bool:
        """Whether it served when a person, a program or the kernel, short of memory, killed it:
        nothing that a process does wrong ends it with SIGKILL."""
        return status == -signal.SIGKILL and not self.killed and self.served_at is not None

    def left_in_order(self, status: int | None) -> bool:
        """Whether it ended as one that was asked to leave should."""
        return not self.killed and status in IN_ORDER


@dataclass(slots=True)
class Worker:
    """A worker, whatever process it has at the time."""

    number: int
    back_off: BackOff
    generation: int = 0
    current: WorkerId | None = None
    """Its process; None while it waits to be started again."""
    next: WorkerId | None = None
    """In a rolling restart, the process that is to take its place."""
    due: float | None = None
    """When it is started again."""
    served: bool = False
    """Whether any of its processes ever served."""


@dataclass(slots=True)
class Roll:
    """A rolling restart that is under way."""

    began: float
    waiting: list[int]
    """The workers whose turn comes."""
    number: int = 0
    """The worker whose turn it is; 0 = between two."""
    old: Process | None = None
    new: WorkerId | None = None
    ready: bool = False
    """Whether the new process has come to serve."""


def name_of(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one has no name
