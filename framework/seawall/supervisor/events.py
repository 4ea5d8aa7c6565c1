"""What the supervisor tells about its workers. Each event is a sentence, as ``str`` shows it."""

from __future__ import annotations

import logging
from typing import ClassVar

from seawall.events import Event, Repair

_log = logging.getLogger("seawall.supervisor")


class WorkerServing(Event):
    """A worker has started and can be called."""

    worker: int
    pid: int
    address: str
    took: float
    """Seconds since it was started."""

    def __str__(self) -> str:
        return f"worker {self.worker} (pid {self.pid}) serves at {self.address}"


class WorkerRestarted(Repair):
    """A worker ended unasked. It is started again, in ``pause`` seconds."""

    level: ClassVar[str] = "warning"
    kind: ClassVar[str] = "worker"
    worker: int
    pid: int
    """Of the process that ended; 0 if there was none."""
    reason: str
    """In words: what it ended with."""
    pause: float

    def __str__(self) -> str:
        when = f"in {self.pause:.3g} s" if self.pause else "at once"
        return f"{_named(self.worker, self.pid)} {self.reason}: started again {when}"


class WorkerHung(Event):
    """A worker gives no sign of life, so it is killed. ``WorkerRestarted`` follows."""

    level: ClassVar[str] = "warning"
    worker: int
    pid: int
    silent: float
    """Seconds."""

    def __str__(self) -> str:
        return (
            f"worker {self.worker} (pid {self.pid}) has given no sign of life for "
            f"{self.silent:.1f} s: killed"
        )


class WorkerStuck(Event):
    """A worker was asked to leave and did not in time, so it is killed."""

    level: ClassVar[str] = "warning"
    worker: int
    pid: int

    def __str__(self) -> str:
        return f"worker {self.worker} (pid {self.pid}) did not leave within its grace: killed"


class WorkerReplaced(Event):
    """In a rolling restart, a new process serves in the place of an old one."""

    worker: int
    pid: int
    """Of the new one."""
    old: int
    """The old one's pid."""

    def __str__(self) -> str:
        return f"worker {self.worker}: pid {self.pid} serves in the place of pid {self.old}"


class RollingStarted(Event):
    """All workers will be replaced, one by one."""

    workers: int

    def __str__(self) -> str:
        return f"rolling restart of {self.workers} workers"


class RollingDone(Event):
    """All workers have been replaced."""

    took: float
    """Seconds."""

    def __str__(self) -> str:
        return f"rolling restart done in {self.took:.1f} s"


class RollingHalted(Event):
    """A new process did not come to serve, so the workers that are left stay as they are."""

    level: ClassVar[str] = "error"
    worker: int
    reason: str
    left: tuple[int, ...]
    """Workers that still run what they did before."""

    def __str__(self) -> str:
        rest = ", ".join(map(str, self.left))
        kept = f"; not replaced: {rest}" if rest else ""
        return f"rolling restart halted: the new worker {self.worker} {self.reason}{kept}"


class StartFailed(Event):
    """A worker ended before it ever served, at the first start: the whole command ends."""

    level: ClassVar[str] = "error"
    worker: int
    pid: int
    reason: str

    def __str__(self) -> str:
        return f"{_named(self.worker, self.pid)} {self.reason} before it served: giving up"


class StopStarted(Event):
    """Somebody asked for a stop."""

    workers: int
    """Processes that are to leave."""
    at_once: bool
    """Whether they are killed, as it was asked for a second time."""

    def __str__(self) -> str:
        how = "asked to stop once more: killing" if self.at_once else "stopping"
        return f"{how} {self.workers} {'worker' if self.workers == 1 else 'workers'}"


class StopFailed(Event):
    """A worker did not leave in good order at the stop."""

    level: ClassVar[str] = "error"
    worker: int
    pid: int
    reason: str

    def __str__(self) -> str:
        return f"{_named(self.worker, self.pid)} {self.reason} at the stop"


def _named(worker: int, pid: int) -> str:
    return f"worker {worker} (pid {pid})" if pid else f"worker {worker}"


def log_event(event: Event) -> None:
    """The default listener: a line of the log for each event."""
    _log.log(logging.getLevelName(event.level.upper()), "%s", event)
