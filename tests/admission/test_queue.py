import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.admission.queue import Queue, QueuePolicy, Ticket
from seawall.criticality import Criticality

CRITICAL, SHEDDABLE = Criticality.CRITICAL, Criticality.SHEDDABLE


def entered(queue: Queue, criticality: Criticality, now: float, expires=None) -> Ticket:
    ticket = queue.enter(criticality, now, expires)
    assert ticket is not None
    return ticket


def worked(queue: Queue, seconds: float) -> None:
    """Let the queue know how long requests take."""
    queue.leave(entered(queue, CRITICAL, 0.0), seconds)


def test_as_many_as_may_be_are_admitted_at_once():
    queue = Queue(QueuePolicy(2))
    first, second, third = (entered(queue, CRITICAL, 0.0) for _ in range(3))
    assert (first.admitted, second.admitted, third.admitted) == (True, True, False)
    queue.leave(second, 0.01)
    assert third.admitted
    assert (queue.running, queue.waiting) == (2, 0)


def test_classes_before_arrival():
    queue = Queue(QueuePolicy(1))
    told = []
    running = entered(queue, CRITICAL, 0.0)
    for name, criticality in (("a", SHEDDABLE), ("b", CRITICAL), ("c", SHEDDABLE), ("d", CRITICAL)):
        ticket = entered(queue, criticality, 0.0)
        ticket.tell = lambda name=name, ticket=ticket: told.append((name, ticket))
    queue.leave(running, 0.001)
    while len(told) < 4:
        queue.leave(told[-1][1], 0.001)
    assert [name for name, _ in told] == ["b", "d", "a", "c"]
    assert all(ticket.admitted for _, ticket in told)


@pytest.mark.parametrize(("criticality", "waiting"), [(CRITICAL, 9), (SHEDDABLE, 2)])
def test_the_estimated_wait_is_held_against_the_target_of_the_class(criticality, waiting):
    queue = Queue(QueuePolicy(1))
    worked(queue, 0.0101)
    entered(queue, CRITICAL, 1.0)
    tickets = [queue.enter(criticality, 1.0, None) for _ in range(20)]
    assert sum(ticket is not None for ticket in tickets) == waiting  # 10 ms each: 0.1 s, 0.03 s


def test_who_could_not_be_done_in_time_is_refused():
    queue = Queue(QueuePolicy(1))
    worked(queue, 0.02)
    entered(queue, CRITICAL, 1.0)
    assert queue.enter(CRITICAL, 1.0, expires=1.039) is None
    assert queue.enter(CRITICAL, 1.0, expires=1.041) is not None


def test_the_expired_are_not_begun():
    queue = Queue(QueuePolicy(1))
    running = entered(queue, CRITICAL, 0.0)
    late, next_one = entered(queue, CRITICAL, 0.0, expires=0.05), entered(queue, CRITICAL, 0.0)
    queue.leave(running, 0.06)
    assert late.over and not late.admitted
    assert next_one.admitted


def test_the_cancelled_leave_the_queue():
    queue = Queue(QueuePolicy(1))
    running = entered(queue, CRITICAL, 0.0)
    gone, next_one = entered(queue, CRITICAL, 0.0), entered(queue, CRITICAL, 0.0)
    queue.leave(gone, 0.01)
    queue.leave(gone, 0.01)
    assert queue.waiting == 1
    queue.leave(running, 0.02)
    assert next_one.admitted and not gone.admitted
    assert (queue.running, queue.waiting) == (1, 0)


def test_nobody_waits_much_longer_than_meant_when_all_hang():
    queue = Queue(QueuePolicy(1, longest=5))
    entered(queue, CRITICAL, 0.0)
    told = []
    for _ in range(5):
        ticket = entered(queue, CRITICAL, 0.0)
        ticket.tell = lambda ticket=ticket: told.append(ticket.admitted)
    assert queue.enter(CRITICAL, 0.0, None) is None, "the queue is bounded"
    queue.sweep(0.19)
    assert not told
    queue.sweep(0.21)
    assert told == [False] * 5
    assert queue.waiting == 0
    assert not any(queue._lanes), "what is over takes no memory"


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "leave", "forget", "sweep"]),
            st.sampled_from(list(Criticality)),
            st.floats(0.0, 0.2),
        ),
        max_size=60,
    ),
)
def test_whatever_happens_the_limit_holds_and_nothing_is_lost(limit, events):
    queue = Queue(QueuePolicy(limit))
    now = 0.0
    inside: list[Ticket] = []
    for event, criticality, pause in events:
        now += pause
        if event == "enter":
            ticket = queue.enter(criticality, now, now + 0.3)
            inside += [] if ticket is None else [ticket]
        elif event == "sweep":
            queue.sweep(now)
        else:
            wanted = [t for t in inside if t.admitted is (event == "leave") and not t.over]
            if wanted:
                queue.leave(wanted[0], now)
        inside = [t for t in inside if not t.over]
        running = [t for t in inside if t.admitted]
        assert queue.running == len(running) <= limit
        assert queue.waiting == len(inside) - len(running)
        assert not queue.waiting or queue.running == limit, "somebody waits for nothing"
