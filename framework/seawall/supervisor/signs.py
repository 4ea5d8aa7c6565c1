"""What the supervisor's decisions are made from, and what they come to."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class WorkerId(NamedTuple):
    """One process: a worker has one after another."""

    number: int
    """Of the worker, from 1 on."""
    generation: int
    """Of its processes, from 1 on."""


@dataclass(frozen=True, slots=True)
class Launched:
    """The process is there."""

    worker: WorkerId
    pid: int


@dataclass(frozen=True, slots=True)
class Serving:
    """It has started: it answers, and clients can find it."""

    worker: WorkerId
    address: str
    stop_within: float
    """Seconds that it may take to leave."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """It is on its way out."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Hung:
    """It has given no sign of life for so many seconds."""

    worker: WorkerId
    silent: float


@dataclass(frozen=True, slots=True)
class Exited:
    """The process has ended, or could not be started at all."""

    worker: WorkerId
    status: int | None
    """Its exit status, minus the number of the signal that killed it; None if there was none."""
    problem: str = ""
    """Why it could not be started."""


class Wish(Enum):
    """What somebody asks of the supervisor."""

    STOP = "leave in good order; asked again, at once"
    ROLL = "replace the workers one by one"


Sign = Launched | Serving | Leaving | Hung | Exited | Wish


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a process."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Send:
    """Send a signal to a process."""

    worker: WorkerId
    number: signal.Signals


@dataclass(frozen=True, slots=True)
class Finish:
    """All is over: no process is left."""

    status: int
    """For the supervisor to exit with."""


Command = Launch | Send | Finish
