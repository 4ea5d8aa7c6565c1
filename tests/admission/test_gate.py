"""The gate before a modelled server: one queue, first come first served, in virtual time."""

from collections import Counter, deque

import pytest

from seawall.admission.gate import WINDOW, Gate, GatePolicy
from seawall.criticality import Criticality

CRITICAL, SHEDDABLE = Criticality.CRITICAL, Criticality.SHEDDABLE
TICK = 0.001


class Server:
    """Takes ``capacity`` requests a second from its queue; what the gate sheds costs it ``cost``
    of one."""

    def __init__(self, capacity: float, cost: float = 0.0) -> None:
        self.now = 0.0
        self.gate = Gate(GatePolicy(), self.now)
        self.served: Counter[Criticality] = Counter()
        self.shed: Counter[Criticality] = Counter()
        self.longest = 0.0
        self._capacity, self._cost = capacity, cost
        self._queue: deque[tuple[float, Criticality]] = deque()
        self._power = 0.0
        self._due = Counter[Criticality]()
        self._next = WINDOW

    def run(self, seconds: float, rates: dict[Criticality, float]) -> None:
        """Let requests of these classes come in, evenly, at these rates."""
        self.served.clear()
        self.shed.clear()
        self.longest = 0.0
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            for each, rate in rates.items():
                self._due[each] += rate * TICK
                while self._due[each] >= 1:
                    self._due[each] -= 1
                    self._queue.append((self.now, each))
            self._work()
            if self.now >= self._next:
                self._next += WINDOW
                waited = self.now - self._queue[0][0] if self._queue else 0.0
                self.gate.waited(waited, len(self._queue))
                self.gate.turn(self.now)

    def _work(self) -> None:
        self._power = min(self._power + self._capacity * TICK, 1.0)
        while self._queue and self._power > 0:
            arrived, each = self._queue.popleft()
            self.longest = max(self.longest, self.now - arrived)
            if not self.gate.shedding:
                self.gate.arrived(each)
            elif not self.gate.admits(each):
                self.shed[each] += 1
                self._power -= self._cost
                continue
            self.served[each] += 1
            self._power -= 1


def test_under_its_capacity_nothing_is_shed():
    server = Server(1000)
    server.run(5, {CRITICAL: 950})
    assert not server.gate.shedding and not server.shed


@pytest.mark.parametrize("times", [2, 5])
def test_overload_costs_little_goodput_and_no_patience(times):
    server = Server(1000)
    server.run(3, {CRITICAL: 1000 * times})
    server.run(10, {CRITICAL: 1000 * times})
    assert server.served[CRITICAL] >= 0.98 * 10 * 1000
    assert server.longest < 0.2


def test_the_least_critical_pays():
    server = Server(1000)
    rates = {CRITICAL: 500.0, SHEDDABLE: 1500.0}
    server.run(3, rates)
    server.run(10, rates)
    assert server.longest < 0.06
    assert server.shed[CRITICAL] == 0
    assert server.served[SHEDDABLE] >= 0.98 * 10 * 500


def test_the_critical_are_shed_if_they_alone_are_too_many():
    server = Server(1000)
    rates = {CRITICAL: 2000.0, SHEDDABLE: 500.0}
    server.run(3, rates)
    server.run(5, rates)
    assert server.served[CRITICAL] >= 0.98 * 5 * 1000
    assert server.served[SHEDDABLE] <= 0.02 * 5 * 500


def test_when_the_load_ends_so_does_the_shedding():
    server = Server(1000)
    server.run(10, {CRITICAL: 5000})
    server.run(2, {CRITICAL: 500})
    server.run(5, {CRITICAL: 500})
    assert not server.shed and not server.gate.shedding


def test_what_shedding_costs_is_paid_for():
    """Refusals that cost 7 % of an answer: the rate falls until both fit."""
    server = Server(455, cost=0.07)
    server.run(5, {CRITICAL: 5 * 455})
    server.run(10, {CRITICAL: 5 * 455})
    most = 455 * (1 - 0.07 * 5) / (1 - 0.07)  # served + 0.07 * shed = 455 a second
    assert server.served[CRITICAL] >= 0.95 * 10 * most
    assert server.longest < 0.2


def test_a_burst_is_no_overload():
    """The least wait of a window counts: one long wait among short ones is nothing."""
    gate = Gate(GatePolicy(), 0.0)
    for turn in range(1, 20):
        gate.waited(0.3, 100)
        gate.waited(0.001, 100)
        gate.turn(turn * WINDOW)
    assert not gate.shedding


def test_a_window_without_a_measurement_changes_nothing():
    gate = Gate(GatePolicy(patience=1), 0.0)
    gate.waited(1.0, 100)
    gate.turn(WINDOW)
    rate = gate.rate
    gate.turn(2 * WINDOW)
    assert gate.rate == rate is not None


def test_some_are_always_taken():
    gate = Gate(GatePolicy(), 0.0)
    taken = 0
    for turn in range(1, 101):
        for _ in range(100):
            taken += gate.admits(CRITICAL) if gate.shedding else True
        gate.waited(5.0, 100)
        gate.turn(turn * WINDOW)
    assert gate.rate == GatePolicy().least
    assert taken >= 90  # 10 s of 10 a second, less the start


def test_a_turn_at_the_same_moment_is_nothing():
    gate = Gate(GatePolicy(), 1.0)
    gate.waited(1.0, 100)
    gate.turn(1.0)
    assert not gate.shedding


def test_a_moment_in_which_the_loop_is_blocked_is_no_overload():
    """Nearly idle, and two windows in which nothing was done: what was taken on tells nothing."""
    gate = Gate(GatePolicy(), 0.0)
    for turn, wait in enumerate((0.0, 0.0, 0.2, 0.2, 0.0, 0.0), 1):
        gate.arrived(CRITICAL)
        gate.waited(wait, 100)
        gate.turn(turn * WINDOW)
        assert not gate.shedding


def test_after_a_longer_one_the_rate_is_soon_what_it_was():
    server = Server(1000)
    server.run(2, {CRITICAL: 20})
    for turn in range(1, 6):  # half a second in which the loop is blocked
        server.gate.arrived(CRITICAL)
        server.gate.waited(0.5, 100)
        server.gate.turn(server.now + turn * WINDOW)
    assert server.gate.shedding
    server.now += 5 * WINDOW
    server.run(1, {CRITICAL: 20})
    server.run(2, {CRITICAL: 900})
    server.run(1, {CRITICAL: 900})
    assert not server.shed


def test_who_waits_behind_hardly_anybody_waits_for_something_else():
    gate = Gate(GatePolicy(), 0.0)
    for turn in range(1, 20):
        gate.arrived(CRITICAL)
        gate.waited(0.5, 1)
        gate.turn(turn * WINDOW)
    assert not gate.shedding


def test_idle_windows_for_ever_while_something_is_shed():
    gate = Gate(GatePolicy(patience=1), 0.0)
    for turn in range(1, 3000):
        gate.waited(1.0 if turn == 1 else 0.0, 100)
        for _ in range(1000):
            gate.admits(CRITICAL)
        gate.turn(turn * WINDOW)
    assert not gate.shedding or gate.rate is not None
