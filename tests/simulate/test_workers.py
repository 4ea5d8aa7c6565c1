"""Workers alone: who is next, whatever is put in while they are told."""

from seawall.testing.simulate.attempt import Job
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.workers import Workers


class Shop:
    """One worker who takes 1 s for each job. ``late`` comes in at one of the calls."""

    def __init__(self, during: str) -> None:
        self.engine = Engine()
        self.done: list[Job] = []
        self.late = Job(0.0)
        self._during = during
        self.workers = Workers(self.engine, 1, self._begin, self._finished)

    def _begin(self, job: Job) -> float:
        self._come("begin")
        return 1.0

    def _finished(self, job: Job) -> None:
        self.done.append(job)
        self._come("finished")

    def _come(self, at: str) -> None:
        if at == self._during:
            self._during = ""
            self.workers.put(self.late)


def test_who_comes_while_a_worker_becomes_free_waits_behind_the_others():
    shop = Shop("finished")
    first, second = Job(0.0), Job(0.0)
    shop.workers.put(first)
    shop.workers.put(second)
    shop.engine.run(5.0)
    assert shop.done == [first, second, shop.late]


def test_who_comes_while_another_begins_finds_no_free_worker():
    shop = Shop("begin")
    first = Job(0.0)
    shop.workers.put(first)
    assert shop.workers.in_flight == 2
    shop.engine.run(1.5)
    assert shop.done == [first]
    shop.engine.run(2.5)
    assert shop.done == [first, shop.late]
