"""The order of a rolling restart: one worker at a time, and never fewer serve than must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.supervisor import events
from seawall.supervisor.processes import Phase, Process, Roll

if TYPE_CHECKING:
    from seawall.supervisor.fleet import Fleet


class Rolling:
    """At most one at a time; what is asked for meanwhile comes after it, once.

    On free ports the new process serves before the old one is asked to leave. ``in_place`` the old
    one leaves first, and only while all the other workers serve.
    """

    def __init__(self, fleet: Fleet, in_place: bool) -> None:
        self._fleet = fleet
        self._in_place = in_place
        self._asked = False
        self._roll: Roll | None = None

    def ask(self) -> None:
        """Replace all workers, from when the one under way, or the first start, is over."""
        self._asked = True

    def serves(self, process: Process) -> None:
        """A process has come to serve; if it is a worker's next one, the old one leaves."""
        fleet = self._fleet
        roll, worker = self._roll, fleet.workers[process.worker.number]
        if roll is None or roll.new != process.worker:
            return
        roll.ready = True
        if worker.next == process.worker:
            worker.current, worker.next = process.worker, None
        if roll.old is not None:
            fleet.tell(events.WorkerReplaced(worker.number, process.pid, roll.old.pid))
            if roll.old.worker in fleet.processes:
                fleet.ask_to_leave(roll.old)

    def exited(self, process: Process, reason: str) -> bool:
        """A process has ended. True if nothing more is to be done about that."""
        roll, worker = self._roll, self._fleet.workers[process.worker.number]
        if roll is None:
            return False
        if process.worker == roll.new and not roll.ready:
            worker.next = None
            self._halt(roll, reason)
            return worker.current is not None  # the old one stays, or has to be started again
        return process.asked

    def advance(self) -> None:
        """Take all the steps that can be taken now."""
        while (roll := self._roll or self._begin()) is not None and self._step(roll):
            pass

    def _begin(self) -> Roll | None:
        if self._asked:
            self._asked = False
            self._roll = Roll(self._fleet.clock(), sorted(self._fleet.workers))
            self._fleet.tell(events.RollingStarted(len(self._fleet.workers)))
        return self._roll

    def _step(self, roll: Roll) -> bool:
        """Whether something could be done."""
        if roll.number == 0:
            return self._next(roll)
        fleet = self._fleet
        if roll.old is None or roll.old.worker not in fleet.processes:
            if roll.ready:
                roll.number = 0
                return True
            if roll.new is None:
                roll.new = fleet.launch(fleet.workers[roll.number])
        return False

    def _next(self, roll: Roll) -> bool:
        fleet = self._fleet
        if not roll.waiting:
            self._roll = None
            fleet.tell(events.RollingDone(fleet.clock() - roll.began))
            return True
        worker = fleet.workers[roll.waiting[0]]
        process = fleet.processes.get(worker.current) if worker.current else None
        if process is None or process.phase is Phase.LEAVING:
            roll.waiting.pop(0)  # its next process is a new one in any case
            return True
        if self._in_place and not self._others_serve(worker.number):
            return False
        roll.number, roll.old, roll.new = roll.waiting.pop(0), process, None
        roll.ready = False
        if self._in_place:
            fleet.ask_to_leave(process)
        else:
            roll.new = fleet.launch(worker)
        return True

    def _others_serve(self, number: int) -> bool:
        processes = self._fleet.processes
        phases = [
            processes[worker.current].phase if worker.current in processes else None
            for worker in self._fleet.workers.values()
            if worker.number != number
        ]
        return all(phase is Phase.SERVING for phase in phases)

    def _halt(self, roll: Roll, reason: str) -> None:
        self._roll, self._asked = None, False
        self._fleet.tell(events.RollingHalted(roll.number, reason, tuple(roll.waiting)))
