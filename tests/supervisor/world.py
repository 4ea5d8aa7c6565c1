"""A fleet in virtual time: its commands are noted, and what happens is what the test says."""

from __future__ import annotations

import signal

from seawall.events import Event
from seawall.supervisor.fleet import Fleet
from seawall.supervisor.signs import (
    Command,
    Exited,
    Finish,
    Hung,
    Launch,
    Launched,
    Leaving,
    Send,
    Serving,
    Sign,
    Wish,
    WorkerId,
)
from seawall.supervisor.timing import Timing
from seawall.testing.clock import FakeClock


class World:
    """Launched processes appear at once, with pid 100 * worker + generation."""

    def __init__(self, count: int, *, in_place: bool = False, timing: Timing | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.running: set[WorkerId] = set()
        self.launched: list[WorkerId] = []
        self.sent: list[tuple[WorkerId, signal.Signals]] = []
        self.status: int | None = None
        self.fleet = Fleet(
            count, in_place=in_place, timing=timing or Timing(),
            clock=self.clock, listener=self.events.append,
        )  # fmt: skip
        self._do(self.fleet.begin())

    def hear(self, sign: Sign) -> None:
        self._do(self.fleet.hear(sign))

    def serves(self, number: int, generation: int = 1, stop_within: float = 15.0) -> None:
        worker = WorkerId(number, generation)
        self.hear(Serving(worker, f"127.0.0.1:{number}", stop_within))

    def ends(self, number: int, generation: int = 1, status: int = 0) -> None:
        self.running.discard(WorkerId(number, generation))
        self.hear(Exited(WorkerId(number, generation), status))

    def leaves(self, number: int, generation: int = 1) -> None:
        self.hear(Leaving(WorkerId(number, generation)))

    def hangs(self, number: int, generation: int = 1) -> None:
        self.hear(Hung(WorkerId(number, generation), 10.0))

    def stop(self) -> None:
        self.hear(Wish.STOP)

    def roll(self) -> None:
        self.hear(Wish.ROLL)

    def open(self) -> World:
        """All first processes serve."""
        for number in self.fleet.workers:
            self.serves(number)
        return self

    def passes(self, seconds: float) -> None:
        """Let time pass; the fleet is woken whenever it wants to be."""
        end = self.clock() + seconds
        while (due := self.fleet.due()) is not None and due <= end and self.status is None:
            self.clock.advance(max(0.0, due - self.clock()))
            self._do(self.fleet.wake())
        self.clock.advance(max(0.0, end - self.clock()))

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def said(self) -> list[str]:
        return [str(event) for event in self.events]

    def signals(self, number: int, generation: int = 1) -> list[signal.Signals]:
        return [sent for worker, sent in self.sent if worker == (number, generation)]

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(worker):
                    assert worker not in self.launched, "each process is started once"
                    self.launched.append(worker)
                    self.running.add(worker)
                    self.hear(Launched(worker, 100 * worker.number + worker.generation))
                case Send(worker, number):
                    assert worker in self.running, "no signal to a process that has ended"
                    self.sent.append((worker, number))
                case Finish(status):
                    assert not self.running, "a process is left behind"
                    self.status = status
