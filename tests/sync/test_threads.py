"""The threads of a sync channel, each by itself: timers, pool, background; and what they share."""

import asyncio
import gc
import threading
import time
import weakref

import pytest

from seawall.transport.limits import GRAIN, LATE
from seawall.transport.sync import pool as pools
from seawall.transport.sync import processes
from seawall.transport.sync.background import Background
from seawall.transport.sync.pool import Pool
from seawall.transport.sync.timers import THREAD, Alarm, Timers
from seawall.transport.sync.weakly import Weakly
from tests.sync.servers import LIMIT, Caller, until


class Bell(Alarm):
    __slots__ = ("__weakref__", "due", "rung", "rung_at")

    def __init__(self, due):
        self.due = due
        self.rung = threading.Event()

    def ring(self):
        self.rung_at = time.monotonic()
        self.rung.set()


def test_alarms_ring_in_order_and_never_early(monkeypatch):
    monkeypatch.setattr("seawall.transport.sync.timers.LATE", 3600)
    timers = Timers()
    now = time.monotonic()
    bells = [Bell(now + delay) for delay in (0.15, 0.05, 0.1, 0.0, -1.0)]
    for bell in bells:
        timers.set(bell, bell.due)
    for bell in bells:
        assert bell.rung.wait(LIMIT) and bell.rung_at >= bell.due
    assert bells[1].rung_at <= bells[2].rung_at <= bells[0].rung_at
    timers.close()


def test_a_cancelled_alarm_does_not_ring():
    timers = Timers()
    due = time.monotonic() + 5 * GRAIN
    kept, cancelled = Bell(due), Bell(due)
    timers.set(kept, due)
    timers.set(cancelled, due)
    timers.cancel(cancelled)
    assert kept.rung.wait(LIMIT) and not cancelled.rung.is_set()
    timers.cancel(kept)
    timers.close()


def test_what_has_rung_or_is_done_is_not_kept():
    timers = Timers()
    bell = Bell(time.monotonic())
    gone = weakref.ref(bell)
    timers.set(bell, bell.due)
    assert bell.rung.wait(LIMIT)
    del bell
    until(lambda: gc.collect() is not None and gone() is None)
    timers.close()


def test_one_that_raises_harms_no_other(caplog):
    timers = Timers()
    after = threading.Event()
    timers.soon(lambda: 1 / 0)
    timers.soon(after.set)
    assert after.wait(LIMIT) and "division by zero" in caplog.text
    timers.close()


def test_there_is_no_thread_before_the_first_alarm_and_none_after_the_end():
    timers = Timers()
    assert timers._thread is None
    timers.set(Bell(0), time.monotonic() + 3600)
    thread = timers._thread
    assert thread.name == THREAD and thread.daemon and thread.is_alive()
    timers.close()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_ten_threads_set_and_cancel():
    timers = Timers()
    bells = []

    def work():
        for number in range(300):
            bell = Bell(time.monotonic() + (0.001 if number % 3 else 60))
            timers.set(bell, bell.due)
            if number % 3:
                bells.append(bell)
            else:
                timers.cancel(bell)

    workers = [threading.Thread(target=work) for _ in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(bells) == 2000
    for bell in bells:
        assert bell.rung.wait(LIMIT)
    timers.close()


def test_the_pool_has_as_many_threads_as_it_needs_and_no_more():
    pool = Pool("test-pool")
    held, done = threading.Event(), threading.Semaphore(0)

    def job():
        assert held.wait(LIMIT)
        done.release()

    for _ in range(pools.MOST + 5):
        pool.run(job)

    def threads():
        return [t for t in threading.enumerate() if t.name.startswith("test-pool")]

    assert len(threads()) == pools.MOST and all(t.daemon for t in threads())
    held.set()
    for _ in range(pools.MOST + 5):
        assert done.acquire(timeout=LIMIT)
    pool.run(job)
    assert done.acquire(timeout=LIMIT) and len(threads()) <= pools.MOST
    pool.close()
    until(lambda: not threads())


def test_threads_without_work_go(monkeypatch):
    monkeypatch.setattr(pools, "LINGER", 0.01)
    pool = Pool("idle-pool")
    done = threading.Semaphore(0)
    for _ in range(3):
        pool.run(done.release)
        assert done.acquire(timeout=LIMIT)
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("idle-pool")])


def test_one_that_exits_harms_no_other():
    timers, pool = Timers(), Pool("leaving")
    for run in (timers.soon, pool.run):
        after = threading.Event()
        run(exit)
        run(after.set)
        assert after.wait(LIMIT)
    timers.close()
    pool.close()


def test_what_was_to_be_done_at_once_is_done_although_the_timers_end():
    timers = Timers()
    begun, held, after = threading.Event(), threading.Event(), threading.Event()

    def hold():
        begun.set()
        held.wait(LIMIT)

    timers.soon(hold)
    assert begun.wait(LIMIT)
    timers.soon(after.set)
    timers.close()
    held.set()
    assert after.wait(LIMIT)


def test_who_is_always_late_rings_all_the_same(monkeypatch):
    """Late once, it is given a moment more, in which an answer may be read; then it rings."""
    now = time.monotonic()
    monkeypatch.setattr("seawall.transport.sync.timers.time.monotonic", lambda: now)
    monkeypatch.setattr(Timers, "_wake", lambda self: None)
    timers = Timers()
    bell = Bell(now)
    timers.set(bell, bell.due)
    for _ in range(2):
        now += 3 * LATE
        for job in timers._due():
            job()
    assert bell.rung.is_set()


def no_more_threads(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def test_timers_that_found_no_thread_try_again(monkeypatch):
    timers = Timers()
    with monkeypatch.context() as patched:
        no_more_threads(patched)
        first = Bell(time.monotonic())
        timers.set(first, first.due)
    second = Bell(time.monotonic() + 3 * GRAIN)
    timers.set(second, second.due)
    assert first.rung.wait(LIMIT) and second.rung.wait(LIMIT)
    timers.close()


def test_a_pool_that_finds_no_thread_says_so_and_tries_again(monkeypatch):
    pool, done = Pool("poor"), threading.Event()
    for _ in range(pools.MOST + 1):
        with monkeypatch.context() as patched:
            no_more_threads(patched)
            assert not pool.run(done.set)
    assert not done.is_set()
    assert pool.run(done.set) and done.wait(LIMIT)
    pool.close()


def test_a_pool_does_what_it_was_given_before_it_ends():
    pool, done = Pool("ending", most=1), []
    for number in range(50):
        pool.run(lambda number=number: done.append(number))
    pool.close()
    until(lambda: done == list(range(50)))
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("ending")])


def test_what_is_awaited_by_all_threads_gets_one_more():
    pool, done = Pool("awaited"), threading.Semaphore(0)
    held = threading.Event()
    for _ in range(pools.MOST + 3):
        pool.run(lambda: held.wait(LIMIT))
    pool.run(done.release, awaited=True)
    assert done.acquire(timeout=LIMIT)
    held.set()
    pool.close()


async def nothing():
    """The last thing to do."""


def test_a_background_that_was_stopped_is_not_started_any_more():
    background = Background()
    background.stop(nothing)
    assert background.ended.is_set()
    background.do(pytest.fail)
    assert background._thread is None


def test_a_background_is_started_and_stopped_by_many_at_once():
    for _ in range(20):
        background = Background()
        callers = [Caller(lambda: background.do(int)) for _ in range(4)]  # noqa: B023
        callers += [Caller(lambda: background.stop(nothing)) for _ in range(4)]  # noqa: B023
        for caller in callers:
            caller.join()
        assert background.ended.wait(LIMIT)
        thread = background._thread
        assert thread is None or (thread.join(LIMIT) is None and not thread.is_alive())


def test_what_the_loop_hands_to_threads():
    background = Background()

    def broken():
        raise LookupError("not there")

    async def work():
        assert await asyncio.to_thread(threading.current_thread) is not threading.current_thread()
        with pytest.raises(LookupError):
            await asyncio.to_thread(broken)
        return True

    background.do(int)
    assert asyncio.run_coroutine_threadsafe(work(), background._loop).result(LIMIT)
    background.stop(nothing)
    assert background.ended.wait(LIMIT)


class Thing:
    """Something that can be known weakly."""


def test_what_is_known_weakly():
    known: Weakly[Thing] = Weakly()
    one, other = Thing(), Thing()
    known.add(one)
    known.add(one)
    known.add(other)
    assert set(known) == {one, other} and len(known) == 2
    known.discard(other)
    known.discard(other)
    assert list(known) == [one]
    del one
    gc.collect()
    assert list(known) == [] and len(known) == 0


def test_weakly_known_things_come_and_go_while_others_look():
    known: Weakly[Thing] = Weakly()
    stop = threading.Event()

    def come_and_go():
        while not stop.is_set():
            things = [Thing() for _ in range(20)]
            for thing in things:
                known.add(thing)
            for thing in things[::2]:
                known.discard(thing)

    callers = [Caller(come_and_go) for _ in range(3)]
    for _ in range(1000):
        assert all(isinstance(thing, Thing) for thing in known)
    stop.set()
    for caller in callers:
        caller.join()
    gc.collect()
    assert len(known) == 0


def test_all_open_channels_together_are_given_one_second_at_exit(monkeypatch):
    now = 100.0

    class Hanging:
        waited = 0.0

        def close(self, within):
            nonlocal now
            now += within
            self.waited += within

    hanging = [Hanging() for _ in range(3)]
    monkeypatch.setattr(processes, "_open", hanging)
    monkeypatch.setattr("seawall.transport.sync.processes.time.monotonic", lambda: now)
    processes._close()
    assert sum(one.waited for one in hanging) == processes.EXIT_WITHIN
