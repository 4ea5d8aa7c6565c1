"""The production driver in virtual time: only waiting and sending are simulated."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome, Success
from seawall.policy.plan import Await, Plan, Run, Send
from seawall.testing.simulate.attempt import Attempt
from seawall.testing.simulate.engine import Event
from seawall.transport.driver import Driver as ProductionDriver
from seawall.transport.limits import GRAIN
from seawall.transport.translate import whole_grains

if TYPE_CHECKING:
    from seawall.testing.simulate.client import Client


class Driver(ProductionDriver):
    """One call under way."""

    attempts = 0
    """Attempts sent so far."""

    def __init__(self, client: Client, call: Call, plan: Plan) -> None:
        # The client stands for all that a call's driver has to do with.
        discovery: Any = client
        super().__init__(client, call, plan, discovery, {}, ())
        self.client = client
        self._engine = client.engine

    def start(self) -> None:
        """Go, up to the plan's first effect."""
        self._step(None)

    def ended(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        self._attempt_done(attempt)

    def _send(self, effect: Send) -> None:
        call = self._call
        self._sent_at = now = self._engine.now
        attempt = Attempt(self, effect.endpoint, now, asks_load=call.asks_load)
        attempt.criticality = call.criticality
        self._inner = attempt
        self.attempts += 1
        if call.deadline is not None:
            attempt.expiry = expiry = now + whole_grains(call.deadline - now)
            attempt.timer = self._engine.at(expiry, attempt.expire)
        attempt.connection.send(attempt)
        if call.limit is not None:
            self._set_alarm(now + call.limit)

    def _code_of(self, inner: Attempt) -> StatusCode:
        return StatusCode.OK if inner.error is None else inner.error.code

    def _failure_of(self, inner: Attempt, code: StatusCode, stayed: bool) -> Failure:
        assert inner.error is not None, "it is asked of failures alone"
        return inner.error

    def _later(self, seconds: float, do: Callable[[], None]) -> Event:
        return self._engine.after(seconds, do)

    def _set_alarm(self, due: float) -> None:
        # As late as the alarms of the production drivers are.
        due = (int(due / GRAIN) + 1) * GRAIN
        alarm: Any = self._engine.at(due, self._limit_passed)
        self._alarm = alarm

    def _limit_passed(self) -> None:
        self._alarm = None
        self._give_up()

    def _await(self, effect: Await) -> None:
        self._timer = self._engine.after(effect.seconds, self._changed)
        if effect.on is None:
            self._parked = self.client.network.waiting
            self._parked.wait(self, self._changed)
        else:
            # Who wakes us is another call's plan: it has to come to its own next step first.
            self._parked = effect.on
            self._parked.wait(self, partial(self._engine.soon, self._changed))

    def _start(self, effect: Run) -> Event:
        return self._engine.after(0.0, self._ran, _run(effect))

    def _ran(self, answer: Outcome) -> None:
        self._running = None
        self._step(answer)

    def _tell_end(self) -> None:
        outcome, self._inner, self._timer = self._outcome, None, None
        assert outcome is not None, "it tells of its end when it has ended"
        if not outcome.ok and outcome.code is StatusCode.INTERNAL and outcome.error is not None:
            # Production turns a mistake in a policy into one failed call; whoever simulates is
            # looking for it.
            raise outcome.error
        self.client.ended(self._call, outcome, self.attempts)


def _run(effect: Run) -> Outcome:
    try:
        answer = effect.function(*effect.arguments)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise TypeError("a simulation has no event loop: give it a plain function")
        return Success(answer)
    except Exception as error:
        return Failure(StatusCode.UNKNOWN, repr(error), error=error)
