"""The supervisor's decisions: from what happens to the workers to what is to be done.

It does nothing by itself and has no clock of its own: ``Supervisor`` tells it what happened and
when, and does what comes back.
"""

from __future__ import annotations

import signal
from enum import Enum

from seawall.clock import Clock
from seawall.events import Event, Listener
from seawall.supervisor import events
from seawall.supervisor.processes import Phase, Process, Worker
from seawall.supervisor.restarts import BackOff
from seawall.supervisor.rolling import Rolling
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

KILLED = 130
"""Exit status after a second signal."""


class Stage(Enum):
    """Where the whole is in its life."""

    OPENING = "not every worker has served yet"
    OPEN = "every worker has served"
    CLOSING = "all are to leave"
    KILLING = "all are killed"


class Fleet:
    """The workers of one supervisor."""

    def __init__(
        self, count: int, *, in_place: bool, timing: Timing, clock: Clock, listener: Listener
    ) -> None:
        """With ``in_place`` a new process can't start before the old one has left, as both would
        listen on one port."""
        self.timing = timing
        self.clock = clock
        self.tell: Listener = listener
        self.stage = Stage.OPENING
        self.workers = {n: Worker(n, BackOff(timing)) for n in range(1, count + 1)}
        self.processes: dict[WorkerId, Process] = {}
        self._rolling = Rolling(self, in_place)
        self._commands: list[Command] = []
        self._status = 0
        self._closed_at = 0.0

    def begin(self) -> list[Command]:
        """Start the first worker. The others follow when it serves: what is wrong with the
        service or its settings is then said once."""
        self.launch(self.workers[1])
        return self._done()

    def hear(self, sign: Sign) -> list[Command]:
        """What to do about something that happened."""
        match sign:
            case Launched(worker, pid):
                if process := self.processes.get(worker):
                    process.pid = pid
            case Serving(worker, address, stop_within):
                self._serves(worker, address, stop_within)
            case Leaving(worker):
                if process := self.processes.get(worker):
                    self._leaves(process)
            case Hung(worker, silent):
                self._hangs(worker, silent)
            case Exited():
                self._exited(sign)
            case Wish.STOP:
                self._stop()
            case Wish.ROLL:
                self._rolling.ask()
        return self._done()

    def wake(self) -> list[Command]:
        """What to do because time has passed."""
        now = self.clock()
        for process in list(self.processes.values()):
            if process.deadline is not None and now >= process.deadline:
                self._is_late(process)
        for worker in self.workers.values():
            if worker.due is not None and now >= worker.due:
                self.launch(worker)
        return self._done()

    def due(self) -> float | None:
        """When ``wake`` is to be called, by the clock; None = not before something happens."""
        deadlines = [process.deadline for process in self.processes.values()]
        times = [*deadlines, *(worker.due for worker in self.workers.values())]
        return min((time for time in times if time is not None), default=None)

    def launch(self, worker: Worker) -> WorkerId:
        """Start another process of ``worker``: in its place, or beside its current one."""
        worker.generation += 1
        worker.due = None
        made = WorkerId(worker.number, worker.generation)
        now = self.clock()
        self.processes[made] = Process(made, now, now + self.timing.start, self.timing.leave)
        if worker.current is None:
            worker.current = made
        else:
            worker.next = made
        self._commands.append(Launch(made))
        return made

    def ask_to_leave(self, process: Process) -> None:
        """Once is enough."""
        if process.asked:
            return
        process.asked = True
        self._leaves(process)
        self._commands.append(Send(process.worker, signal.SIGTERM))

    def _serves(self, who: WorkerId, address: str, stop_within: float) -> None:
        process = self.processes.get(who)
        if process is None or process.phase is not Phase.STARTING:
            return  # it was told to leave meanwhile
        worker, now = self.workers[who.number], self.clock()
        process.phase, process.served_at, process.deadline = Phase.SERVING, now, None
        process.stop_within = stop_within
        worker.served = True
        took = now - process.since
        self.tell(events.WorkerServing(who.number, process.pid, address, took))
        self._rolling.serves(process)
        if self.stage is Stage.OPENING:
            for other in self.workers.values():
                if other.generation == 0:
                    self.launch(other)
            if all(other.served for other in self.workers.values()):
                self.stage = Stage.OPEN

    def _leaves(self, process: Process) -> None:
        if process.phase is not Phase.LEAVING:
            process.phase = Phase.LEAVING
            process.deadline = self.clock() + process.stop_within

    def _hangs(self, who: WorkerId, silent: float) -> None:
        process = self.processes.get(who)
        if process is not None and process.phase is Phase.SERVING:
            self.tell(events.WorkerHung(who.number, process.pid, silent))
            self._kill(process, f"gave no sign of life for {silent:.1f} s and was killed")

    def _is_late(self, process: Process) -> None:
        if process.phase is Phase.LEAVING:
            self.tell(events.WorkerStuck(process.worker.number, process.pid))
            self._kill(process, "did not leave within its grace and was killed")
        else:
            limit = f"{self.timing.start:g} s"
            self._kill(process, f"did not serve within {limit} and was killed")

    def _kill(self, process: Process, why: str) -> None:
        process.phase, process.deadline = Phase.LEAVING, None
        process.killed = process.killed or why
        self._commands.append(Send(process.worker, signal.SIGKILL))

    def _exited(self, sign: Exited) -> None:
        process = self.processes.pop(sign.worker, None)
        if process is None:
            return
        worker = self.workers[sign.worker.number]
        reason = process.reason(sign.status, sign.problem)
        if worker.current == sign.worker:
            worker.current = None
        if self.stage in (Stage.CLOSING, Stage.KILLING):
            self._gone(process, sign.status, reason)
        elif self.stage is Stage.OPENING and not worker.served:
            self._give_up(process, sign.status, reason)
        elif self._rolling.exited(process, reason):
            return
        elif worker.current is None and worker.due is None:
            self._start_again(worker, process, sign.status, reason)

    def _start_again(
        self, worker: Worker, process: Process, status: int | None, reason: str
    ) -> None:
        now = self.clock()
        if worker.next is None:
            from_outside = process.killed_from_outside(status)
            pause = worker.back_off.pause(now, process.served(now), from_outside=from_outside)
            worker.due = now + pause
        else:  # what was to replace it takes its place
            worker.current, worker.next, pause = worker.next, None, 0.0
        self.tell(events.WorkerRestarted(worker.number, process.pid, reason, pause))

    def _give_up(self, process: Process, status: int | None, reason: str) -> None:
        event: Event = events.StartFailed(process.worker.number, process.pid, reason)
        self.tell(event)
        self._close(status if status in (1, 2) else 1)

    def _gone(self, process: Process, status: int | None, reason: str) -> None:
        if self.stage is Stage.CLOSING and not process.left_in_order(status):
            self.tell(events.StopFailed(process.worker.number, process.pid, reason))
            self._status = self._status or 1

    def _stop(self) -> None:
        count = len(self.processes)
        if self.stage in (Stage.OPENING, Stage.OPEN):
            self.tell(events.StopStarted(count, at_once=False))
            self._close(0)
        elif self.stage is Stage.CLOSING and self.clock() - self._closed_at >= self.timing.echo:
            self.tell(events.StopStarted(count, at_once=True))
            self.stage, self._status = Stage.KILLING, KILLED
            for process in self.processes.values():
                self._kill(process, "was killed")

    def _close(self, status: int) -> None:
        self.stage, self._status, self._closed_at = Stage.CLOSING, status, self.clock()
        for worker in self.workers.values():
            worker.due = None
        for process in self.processes.values():
            self.ask_to_leave(process)

    def _done(self) -> list[Command]:
        if self.stage is Stage.OPEN:
            self._rolling.advance()
        elif self.stage is not Stage.OPENING and not self.processes:
            self._commands.append(Finish(self._status))
        commands, self._commands = self._commands, []
        return commands
