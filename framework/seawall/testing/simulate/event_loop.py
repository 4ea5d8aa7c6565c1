"""How a replica takes requests whose handlers compute on its event loop: the server's own gate."""

from __future__ import annotations

from typing import Final

from seawall.admission.gate import Gate, GatePolicy
from seawall.admission.measuring import TURN, Line, Measuring
from seawall.testing.simulate.attempt import Attempt, Job, Stage
from seawall.testing.simulate.engine import Event
from seawall.testing.simulate.intake import Intake, Post, Terms

_PROBE: Final = 0.0004
"""Seconds of the event loop that a probe takes on a real server, for its two ends."""
_ENTERED: Final = (Stage.WAITING, Stage.RUNNING)


class EventLoop(Intake):
    """Admits or refuses a request when it has come to the front of the line, as servers do.

    Its turns are jobs, too: timers wait for the handler that computes, and for a process that is
    stopped.
    """

    def __init__(self, terms: Terms, post: Post) -> None:
        super().__init__(terms, post)
        self.gate = Gate(GatePolicy(), post.engine.now)
        self._measuring = Measuring(self.gate)
        self._line = Line(post.name)
        self._measuring.add(self._line)
        self._turn = Job(0.0)
        self._timer: Event | None = None
        """At the next turn; None = nothing is to be measured."""
        self._probe: Job | None = None
        """The one that is under way."""

    @property
    def in_flight(self) -> int:
        own = (self._probe is not None) + (self._turn.stage in _ENTERED)
        return self._workers.in_flight - own

    def clear(self) -> int:
        count = super().clear()
        self._probe = None
        if self._timer is not None:
            self._timer.cancel()
        return count

    def _enter(self, attempt: Attempt) -> None:
        self._workers.put(attempt)

    def _begin(self, job: Job) -> float:
        if job is self._turn:
            self._measure()
            return 0.0
        if job is self._probe:
            self._measuring.arrived(self._engine.now)
            return _PROBE
        assert isinstance(job, Attempt), "there is nothing else to do"
        if job.refusal is not None:
            return job.refusal
        self._line.passed += 1
        self._measuring.awake()
        if self._timer is None:
            self._again()
        gate = self.gate
        if not gate.shedding:
            gate.arrived(job.criticality)
        elif not gate.admits(job.criticality):
            return self._refused(job)
        self._count(job)
        return self._post.work(job)

    def _finished(self, job: Job) -> None:
        if isinstance(job, Attempt):
            super()._finished(job)
            return
        self._tally.busy += self._engine.now - job.begun
        if job is self._probe:
            self._probe = None

    def _again(self) -> None:
        self._timer = self._engine.after(TURN, self._workers.put_first, self._turn)

    def _measure(self) -> None:
        """What a server does at each turn."""
        now = self._engine.now
        line = self._measuring.turn(now)
        if line is not None and self._probe is None:
            self._measuring.sent(line, now)
            self._probe = Job(now)
            self._workers.put(self._probe)
        if self._measuring.idle:
            self._timer = None
        else:
            self._again()
