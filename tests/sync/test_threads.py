"""The timers' thread and the fallbacks' pool, by themselves."""

import gc
import threading
import time
import weakref

from seawall.transport.limits import GRAIN
from seawall.transport.sync import pool as pools
from seawall.transport.sync.pool import Pool
from seawall.transport.sync.timers import THREAD, Alarm, Timers
from tests.sync.servers import LIMIT, until


class Bell(Alarm):
    __slots__ = ("__weakref__", "due", "rung", "rung_at")

    def __init__(self, due):
        self.due = due
        self.rung = threading.Event()

    def ring(self):
        self.rung_at = time.monotonic()
        self.rung.set()


def test_alarms_ring_in_order_and_never_early():
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
