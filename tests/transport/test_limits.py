from seawall.testing.clock import FakeClock
from seawall.transport import limits
from seawall.transport.limits import GRAIN, LATE, Limits


class Loop:
    """An event loop's timers on a fake clock."""

    def __init__(self, clock):
        self.clock = clock
        self.timers = []

    def call_later(self, delay, callback, *arguments):
        self.timers.append((self.clock() + delay, callback, arguments))

    def advance(self, seconds):
        """Time passes; timers that are due are called once, as after a blocked loop."""
        self.clock.advance(seconds)
        due = [t for t in self.timers if t[0] <= self.clock()]
        self.timers = [t for t in self.timers if t[0] > self.clock()]
        for _, callback, arguments in due:
            callback(*arguments)


def made(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(limits.time, "monotonic", clock)
    loop = Loop(clock)
    return loop, Limits(loop)


def test_an_alarm_rings_within_a_grain_and_never_early(monkeypatch):
    loop, alarms = made(monkeypatch)
    rung = []
    alarms.set(lambda: rung.append(1), loop.clock() + 0.3)
    loop.advance(0.299)
    assert rung == []
    loop.advance(GRAIN + 0.002)
    assert rung == [1]


def test_a_cancelled_alarm_does_not_ring(monkeypatch):
    loop, alarms = made(monkeypatch)
    rung = []

    def alarm():
        rung.append(1)

    alarms.cancel(alarms.set(alarm, loop.clock() + 0.3))
    loop.advance(0.32)
    assert rung == []


def test_many_alarms_share_a_timer(monkeypatch):
    loop, alarms = made(monkeypatch)
    for n in range(100):
        alarms.set(lambda n=n: None, loop.clock() + 0.3)
    assert len(loop.timers) == 1


def test_a_loop_that_was_blocked_gives_a_second_chance(monkeypatch):
    loop, alarms = made(monkeypatch)
    rung = []
    alarms.set(lambda: rung.append(1), loop.clock() + 0.3)
    loop.advance(2.0)
    assert rung == []
    loop.advance(LATE + 2 * GRAIN)
    assert rung == [1]


def test_a_second_chance_can_still_be_cancelled(monkeypatch):
    loop, alarms = made(monkeypatch)
    rung = []
    alarm = alarms.set(lambda: rung.append(1), loop.clock() + 0.3)
    loop.advance(2.0)
    alarms.cancel(alarm)
    loop.advance(LATE + 2 * GRAIN)
    assert rung == []


def test_one_that_raises_does_not_silence_the_others(monkeypatch, caplog):
    loop, alarms = made(monkeypatch)
    rung = []
    for ring in (lambda: 1 / 0, lambda: rung.append(1), lambda: 1 / 0):
        alarms.set(ring, loop.clock() + 0.3)
    loop.advance(0.32)
    assert rung == [1] and "ZeroDivisionError" in caplog.text


def test_in_a_loop_that_is_always_late_an_alarm_rings_all_the_same(monkeypatch):
    loop, alarms = made(monkeypatch)
    rung = []
    alarms.set(lambda: rung.append(1), loop.clock() + 0.3)
    loop.advance(0.3 + 3 * LATE)
    assert rung == []
    loop.advance(4 * LATE)
    assert rung == [1]
    loop.advance(1.0)
    assert rung == [1] and not loop.timers
