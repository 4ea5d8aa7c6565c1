"""One attempt at a call, as both sides see it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from seawall.admission.queue import Ticket
from seawall.call import Endpoint, Failure, LoadReport
from seawall.criticality import DEFAULT
from seawall.testing.simulate.engine import Event

if TYPE_CHECKING:
    from seawall.testing.simulate.connection import Connection
    from seawall.testing.simulate.driver import Driver


class Stage(IntEnum):
    """Where an attempt is at its replica."""

    UNDER_WAY = 0
    WAITING = 1
    RUNNING = 2
    OVER = 3


class Reported(Failure):
    """A failure that a replica answered with, and what it said of its load if it was asked."""

    __slots__ = ("load",)

    def __init__(self, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self.load: LoadReport | None = None


class Job:
    """What a replica's workers do: requests, and now and then something of its own."""

    __slots__ = ("begun", "done", "left", "since", "stage")

    def __init__(self, now: float) -> None:
        self.stage = Stage.UNDER_WAY
        self.begun = now
        """When a worker took it."""
        self.left = 0.0
        """Seconds of work left at ``since``, at the speed that was meant."""
        self.since = now
        self.done: Event | None = None
        """The end of the work."""


class Attempt(Job):
    """An attempt under way: to its driver what gRPC's call object is in production."""

    __slots__ = (
        "asks_load", "connection", "counted", "criticality", "driver", "error", "expiry",
        "failure", "load", "over", "refusal", "ticket", "timer",
    )  # fmt: skip

    def __init__(self, driver: Driver, endpoint: Endpoint, now: float, *, asks_load: bool) -> None:
        super().__init__(now)
        self.driver = driver
        self.asks_load = asks_load
        """Whether the answer is to tell the replica's load."""
        self.connection: Connection = endpoint.transport
        self.expiry: float | None = None
        """When the client gives it up for its deadline; None = never."""
        self.timer: Event | None = None
        """At the expiry."""
        self.over = False
        """For the client: answered, failed or given up."""
        self.error: Failure | None = None
        """What it ended with, for the client; None = OK, or it hasn't ended."""
        self.load: LoadReport | None = None
        """What came with the answer."""
        self.criticality = DEFAULT
        # What follows is its replica's.
        self.ticket: Ticket | None = None
        """Its place before the workers, if they have a queue of the server's."""
        self.counted: float | None = None
        """Since when the meter counts it, as a server does from when a handler begins."""
        self.failure: Reported | None = None
        """What it will be answered with if not with a success."""
        self.refusal: float | None = None
        """Seconds of work that it is to refuse it; None = it isn't refused."""

    def end(self, error: Failure | None) -> None:
        """Its answer has arrived (None: OK), or its connection broke."""
        if not self.over:
            self._end(error, cancel=False)

    def expire(self) -> None:
        """The deadline has passed."""
        self._end(Failure(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), cancel=True)

    def cancel(self) -> None:
        """The driver gives it up."""
        if not self.over:
            self._close(cancel=True)
            del self.driver

    def _end(self, error: Failure | None, *, cancel: bool) -> None:
        self._close(cancel=cancel)
        self.error = error
        driver = self.driver
        # The driver may keep it; a cycle would be left to the garbage collector, which takes
        # several times as long as all the rest.
        del self.driver
        driver.ended(self)

    def _close(self, *, cancel: bool) -> None:
        self.over = True
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        self.connection.close(self, cancel=cancel)
