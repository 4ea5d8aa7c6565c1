"""Bulkheads: no more than so many calls at once, so that one slow service can't take everything."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from functools import partial
from typing import Any, Final

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome
from seawall.clock import Clock
from seawall.errors import BulkheadFull, DeadlinePassed
from seawall.policy.plan import Await, Effect, Handler, Layer, Plan
from seawall.policy.waiting import Waiting
from seawall.records import Record

_LONG: Final = 3600.0
"""Seconds after which a call that may wait for ever looks again."""


class BulkheadPolicy(Record):
    """How many calls may be under way, and how many more may wait for one of them to end."""

    max_concurrent: int
    """Calls that run at once; 1 or more. A call counts once, whatever its attempts, and until the
    end of its stream."""
    max_queue: int = 0
    """Calls that wait for a place; the next ones are refused. 0 = all that have none are."""
    max_wait: float | None = None
    """Seconds that a call waits, at most; None = until its deadline."""


class _Ticket(Waiting):
    """A call's place in the queue, and where it waits there."""

    __slots__ = ("granted",)

    def __init__(self) -> None:
        super().__init__()
        self.granted = False
        """Whether a place is its own: it may begin, or must pass the place on."""


class Bulkhead:
    """The places that the calls it guards share. First come, first served."""

    __slots__ = ("_name", "_policy", "_queue", "running")

    def __init__(self, policy: BulkheadPolicy, name: str) -> None:
        self._policy = policy
        self._name = name
        """What it guards, in words: the service, or the method's path."""
        self._queue: OrderedDict[_Ticket, None] = OrderedDict()
        self.running = 0
        """Places that are taken, or promised to a call that waited and has not gone on yet."""

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._queue)

    def enter(self) -> bool:
        """Take a place, to be given back by ``leave``; False if there is none.

        There is none while others wait, as none would be free then: see ``leave``.
        """
        if self.running >= self._policy.max_concurrent:
            return False
        self.running += 1
        return True

    def leave(self) -> None:
        """Give a place back: to the one that has waited longest, if there is one."""
        self.running -= 1
        if self._queue:
            self._admit()

    def follow(self, policy: BulkheadPolicy) -> None:
        """Go by another policy from now on. Calls that run go on, and count; those that wait keep
        their places in the queue, and the time that they had."""
        self._policy = policy
        self._admit()

    def _admit(self) -> None:
        """Give the places that are free to those who have waited longest."""
        while self._queue and self.running < self._policy.max_concurrent:
            ticket, _ = self._queue.popitem(last=False)
            self.running += 1
            ticket.granted = True
            ticket.wake()

    def queue(self, call: Call, clock: Clock) -> Generator[Effect, Any, Failure | None]:
        """Wait for a place, to be given back by ``leave``; or say why there is none."""
        if len(self._queue) >= self._policy.max_queue:
            return self._refusal(self._crowd())
        since = clock()
        max_wait = self._policy.max_wait
        until = since + _LONG if max_wait is None else since + max_wait
        ticket = _Ticket()
        self._queue[ticket] = None
        mine = False
        try:
            while True:
                now = clock()
                if call.deadline is not None and now >= call.deadline:
                    return self._too_late(now - since)
                if ticket.granted:
                    mine = True
                    return None
                if now >= until:
                    if max_wait is not None:
                        return self._refusal(
                            f"its turn had not come after {now - since:.3g} s; {self._crowd()}"
                        )
                    until = now + _LONG
                left = until if call.deadline is None else min(until, call.deadline)
                yield Await(left - now, on=ticket)
        finally:
            # However the wait ended: refused here, or cancelled by its caller, perhaps between
            # being given a place and going on.
            if not mine:
                self._withdraw(ticket)

    def _withdraw(self, ticket: _Ticket) -> None:
        if ticket.granted:
            self.leave()
        else:
            del self._queue[ticket]

    def _crowd(self) -> str:
        policy = self._policy
        return (
            f"{self.running} calls are under way, of {policy.max_concurrent} that may, and "
            f"{self.waiting} wait, of {policy.max_queue} that may"
        )

    def _refusal(self, why: str) -> Failure:
        # As in ``throttle``: UNAVAILABLE would have whoever is above try again.
        return Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"the bulkhead of {self._name} is full: {why}. Is the service slow? Else have fewer "
            'calls at once, or raise "maxConcurrent" or "maxQueue" of the service config\'s '
            '"bulkhead"',
            sent=False,
            refusal=BulkheadFull,
        )

    def _too_late(self, waited: float) -> Failure:
        return Failure(
            StatusCode.DEADLINE_EXCEEDED,
            f"the deadline passed after {waited:.3g} s in the queue of the bulkhead of "
            f"{self._name}: {self._crowd()}",
            sent=False,
            refusal=DeadlinePassed,
        )


def bulkhead(state: Bulkhead, clock: Clock) -> Layer:
    """Let calls through as ``state`` has places for them.

    Above retry: a call keeps its place over its attempts and the pauses between them, so that
    what is bounded is the number of callers that wait for a service, and a retry can't be locked
    out by newer calls. Below the rate limit: who waits for its turn there takes no place.
    """

    def layer(inner: Handler) -> Handler:
        return partial(_guarded, state, clock, inner)

    return layer


def _guarded(state: Bulkhead, clock: Clock, inner: Handler, call: Call) -> Plan:
    if not state.enter():
        refusal = yield from state.queue(call, clock)
        if refusal is not None:
            return refusal
    held = True
    try:
        outcome: Outcome = yield from inner(call)
        if outcome.ok and call.method.response_streaming:
            call.when_ended(partial(_ended, state))
            held = False
        return outcome
    finally:
        if held:
            state.leave()


def _ended(state: Bulkhead, end: Outcome) -> None:
    """A stream has ended, or was dropped half read."""
    state.leave()
