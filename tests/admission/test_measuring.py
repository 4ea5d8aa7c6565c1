"""When probes go out, and what the gate hears: without a server."""

import pytest

from seawall.admission.gate import WINDOW, Gate, GatePolicy
from seawall.admission.measuring import TURN, Line, Measuring


class Heard(Gate):
    """A gate that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(GatePolicy(), 0.0)
        self.heard = []
        self.turns = []

    def waited(self, seconds, behind, *, arrived=True):
        self.heard.append((pytest.approx(seconds), behind, arrived))

    def turn(self, now):
        self.turns.append(pytest.approx(now))


class World:
    """A gate, two lines, and the time."""

    def __init__(self) -> None:
        self.gate = Heard()
        self.measuring = Measuring(self.gate)
        self.first, self.second = Line("/a.B/First"), Line("/a.B/Second")
        self.measuring.add(self.first)
        self.measuring.add(self.second)
        self.now = 0.0

    def come(self, line: Line, requests: int) -> None:
        line.passed += requests
        self.measuring.awake()

    def turn(self) -> Line | None:
        self.now += TURN
        return self.measuring.turn(self.now)

    def turns(self, count: int) -> list[Line | None]:
        return [self.turn() for _ in range(count)]

    def send(self, line: Line) -> None:
        self.measuring.sent(line, self.now)


@pytest.fixture
def world():
    return World()


def test_the_gate_decides_once_a_window(world):
    world.turns(6)
    assert world.gate.turns == [WINDOW, 2 * WINDOW, 3 * WINDOW]


def test_a_probe_goes_to_the_busiest_line_once_a_window_if_enough_has_come(world):
    world.come(world.first, 9)
    assert world.turns(2) == [None, None]
    world.come(world.first, 3)
    world.come(world.second, 11)
    assert world.turns(2) == [None, world.first]
    world.send(world.first)
    world.measuring.arrived(world.now)
    assert world.turns(2) == [None, None], "what has come is known of all lines"


def test_a_probe_that_arrives_is_told_of_once(world):
    world.send(world.first)
    world.come(world.first, 7)
    world.measuring.arrived(world.now + 0.003)
    world.measuring.arrived(world.now + 9.0)
    world.turns(3)
    assert world.gate.heard == [(0.003, 7, True)]


def test_a_probe_under_way_tells_how_long_it_has_waited_so_far(world):
    world.send(world.first)
    world.turn()
    world.come(world.first, 5)
    assert world.turn() is world.first, "long waits are measured at each turn"
    world.measuring.arrived(world.now + 0.01)
    world.turn()
    assert world.gate.heard == [(TURN, 0, False), (2 * TURN, 5, False), (2 * TURN + 0.01, 5, True)]


def test_while_requests_are_shed_a_probe_is_wanted_at_each_turn(world):
    world.gate.shedding = True
    assert world.turns(3) == [world.first] * 3


def test_a_probe_that_is_lost_is_told_of_no_more(world):
    world.send(world.first)
    assert world.measuring.lost()
    world.measuring.arrived(world.now + 1.0)
    world.turns(2)
    assert world.gate.heard == []


def test_a_probe_that_has_arrived_is_not_lost(world):
    world.send(world.first)
    world.measuring.arrived(world.now + 0.001)
    assert not world.measuring.lost()
    world.turn()
    assert not world.measuring.lost()
    assert world.gate.heard == [(0.001, 0, True)]


def test_without_requests_there_is_a_rest_after_two_windows(world):
    world.come(world.first, 1)
    idle = []
    for _ in range(5):
        world.turn()
        idle.append(world.measuring.idle)
    assert idle == [False, False, False, True, True]
    world.come(world.first, 1)
    assert not world.measuring.idle


def test_there_is_no_rest_while_requests_are_shed(world):
    world.gate.shedding = True
    world.turns(10)
    assert not world.measuring.idle


def test_without_a_line_there_is_nothing_to_measure():
    gate = Heard()
    gate.shedding = True
    assert Measuring(gate).turn(TURN) is None
