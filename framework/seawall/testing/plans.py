"""Running plans without a loop, a socket or a sleep: a driver in virtual time.

It performs the same effects as the drivers for gRPC do, so that a policy, a balancer or a whole
stack of layers can be tested as it runs in production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from grpc import StatusCode

from seawall.call import Call, Endpoint, Failure, Instance, Outcome, Success
from seawall.policy.plan import Await, Effect, LateAnswer, Linger, Plan, Run, Send, Sleep
from seawall.testing.clock import FakeClock

Answer = tuple[float, Outcome]
"""After how many seconds an attempt is answered, and with what."""

NEVER = float("inf")

LOST = Failure(StatusCode.CANCELLED, "another attempt was answered first", limit=True)


@dataclass(slots=True)
class _Late:
    due: float
    outcome: Outcome
    failure: Failure
    call: Call
    endpoint: Endpoint

    @property
    def ends_the_call(self) -> bool:
        outcome, conclusive = self.outcome, self.call.conclusive
        return outcome.ok or (conclusive is not None and conclusive(outcome))


@dataclass
class PlanRunner:
    """Performs a plan's effects on ``clock``; ``answer`` plays the servers.

    ``answer(call, endpoint)`` says when and how an attempt there is answered. ``on_await`` is
    called where a plan waits for endpoints and may change them; without it time passes.
    Afterwards ``sent`` lists the endpoints that were sent to and ``slept`` the waits in seconds.
    """

    clock: FakeClock
    answer: Callable[[Call, Endpoint], Answer]
    on_await: Callable[[], None] | None = None
    sent: list[Endpoint] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    _late: list[_Late] = field(default_factory=list)

    def run(self, plan: Plan) -> Outcome:
        """Run ``plan`` to its end and return its outcome."""
        try:
            effect = next(plan)
            while True:
                effect = self._perform(plan, effect)
        except StopIteration as stop:
            outcome: Outcome = stop.value
        for late in self._late:
            lost = LOST if outcome.ok and late.call.eager else late.failure
            self._tell(late, late.outcome if late.due <= self.clock.now else lost)
        self._late.clear()
        return outcome

    def _perform(self, plan: Plan, effect: Effect) -> Effect:
        if isinstance(effect, Send):
            return self._send(plan, effect)
        if isinstance(effect, Sleep):
            self.slept.append(effect.seconds)
            return self._pass(plan, self.clock.now + effect.seconds)
        if isinstance(effect, Await):
            if self.on_await is not None:
                self.on_await()
                return plan.send(None)
            return self._pass(plan, self.clock.now + effect.seconds)
        if isinstance(effect, Linger):
            return self._pass(plan, NEVER)
        return plan.send(_call(effect))

    def _send(self, plan: Plan, effect: Send) -> Effect:
        call, endpoint, now = effect.call, effect.endpoint, self.clock.now
        self.sent.append(endpoint)
        delay, outcome = self.answer(call, endpoint)
        due = now + delay
        if call.deadline is not None and due > call.deadline:
            due, outcome = call.deadline, Failure(StatusCode.DEADLINE_EXCEEDED, "deadline")
        if call.limit is None or due <= now + call.limit:
            return self._pass(plan, due, outcome)
        limit = now + call.limit
        if call.eager:
            limit = min([limit, *(late.due for late in self._late if not late.ends_the_call)])
        late = self._next_late(limit)
        if late is not None:
            return self._throw(plan, late)
        self.clock.now = limit
        if call.abandon is not None and not call.abandon(call):
            return self._pass(plan, due, outcome)
        failure = Failure(StatusCode.DEADLINE_EXCEEDED, "limit", limit=True)
        if call.keep_late:
            failure.pending = []
            self._late.append(_Late(due, outcome, failure, call, endpoint))
        return plan.send(failure)

    def _pass(self, plan: Plan, until: float, answer: Outcome | None = None) -> Effect:
        """Let time pass until ``until``, or until an attempt that was left running is answered."""
        late = self._next_late(until)
        if late is not None:
            return self._throw(plan, late)
        if until != NEVER:
            self.clock.now = max(self.clock.now, until)
        return plan.send(answer)

    def _next_late(self, until: float) -> _Late | None:
        """The first attempt left running to be answered by ``until``; failures just end."""
        for late in sorted(self._late, key=lambda late: late.due):
            if late.due > until:
                break
            self._late.remove(late)
            self.clock.now = max(self.clock.now, late.due)
            self._tell(late, late.outcome)
            if late.ends_the_call:
                return late
        return None

    def _throw(self, plan: Plan, late: _Late) -> Effect:
        late.call.endpoint = late.endpoint
        return plan.throw(LateAnswer(late.outcome))

    @staticmethod
    def _tell(late: _Late, end: Outcome) -> None:
        for hook in late.failure.pending or ():
            hook(end)


def _call(effect: Run) -> Outcome:
    try:
        return Success(effect.function(*effect.arguments))
    except Exception as error:
        return Failure(StatusCode.UNKNOWN, repr(error), error=error)


def instance(address: str = "10.0.0.1:1", service: str = "shop.v1.Inventory") -> Instance:
    """An instance whose id is its address."""
    return Instance(service, address, address)
