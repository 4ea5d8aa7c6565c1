"""Many plans at once, stepped by hand on a clock that stands still: as the aio driver does it.

A wake comes in a later step (``settle``), so that a test can do anything between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from seawall.call import Call, Outcome
from seawall.policy.plan import Await, Effect, Plan, Send, Sleep
from seawall.policy.waiting import Waiting
from seawall.testing.clock import FakeClock


@dataclass(eq=False)
class Running:
    """One plan under way."""

    call: Call
    plan: Plan
    effect: Effect | None = None
    due: float | None = None
    parked: Waiting | None = None
    outcome: Outcome | None = None
    cancelled: bool = False

    @property
    def sent(self) -> bool:
        return isinstance(self.effect, Send)

    @property
    def over(self) -> bool:
        return self.cancelled or self.outcome is not None


class Stepper:
    """Steps plans; ``sent`` lists those that came to their attempt, in that order."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.running: list[Running] = []
        self.sent: list[Running] = []
        self._woken: list[Running] = []

    def start(self, call: Call, plan: Plan) -> Running:
        run = Running(call, plan)
        self.running.append(run)
        self._step(run, None)
        return run

    def answer(self, run: Running, outcome: Outcome) -> None:
        assert run.sent
        self._step(run, outcome)

    def cancel(self, run: Running) -> None:
        """As ``Driver.cancel``: nothing of the plan is heard of again."""
        self._unpark(run)
        run.effect, run.cancelled = None, True
        self.running.remove(run)
        run.plan.close()

    def settle(self) -> None:
        """Deliver the wakes that have been given."""
        for _ in range(len(self._woken)):
            self._changed(self._woken.pop(0))

    def advance(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        until = self.clock.now + seconds
        while True:
            self.settle()
            timed = [run for run in self.running if run.due is not None and run.due <= until]
            if not timed:
                break
            first = min(timed, key=lambda run: run.due)
            self.clock.now = max(self.clock.now, first.due)
            if first.parked is not None:
                self._changed(first)
            else:
                self._step(first, None)
        self.clock.now = until

    def _changed(self, run: Running) -> None:
        if run.parked is not None:
            self._unpark(run)
            self._step(run, None)

    def _unpark(self, run: Running) -> None:
        parked, run.parked, run.due = run.parked, None, None
        if parked is not None:
            parked.unwait(run)

    def _step(self, run: Running, answer: Outcome | None) -> None:
        run.effect = run.due = None
        try:
            effect = run.plan.send(answer)
        except StopIteration as stop:
            run.outcome = stop.value
            self.running.remove(run)
            return
        run.effect = effect
        if isinstance(effect, Send):
            self.sent.append(run)
        elif isinstance(effect, Sleep):
            run.due = self.clock.now + effect.seconds
        elif isinstance(effect, Await):
            run.due = self.clock.now + effect.seconds
            run.parked = effect.on
            effect.on.wait(run, partial(self._woken.append, run))
