"""The supervisor and processes that are not what it takes them for."""

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest

from seawall.supervisor import Job, Supervisor, Timing, Wish
from seawall.supervisor.events import (
    RollingDone,
    StartFailed,
    StopFailed,
    WorkerHung,
    WorkerRestarted,
    WorkerServing,
    WorkerStuck,
)
from tests.heard import Heard
from tests.supervisor.programs import LIMIT, exists


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    monkeypatch.setattr("seawall.supervisor.child.MODULE", "tests.supervisor.fake_worker")


@asynccontextmanager
async def supervised(behaviour: str, count: int = 1, heard: Heard | None = None, **timing: float):
    """A supervisor that runs, and what it tells; its processes end with it."""
    heard, directories = heard or Heard(), []

    def job(worker, directory):
        directories.append(directory)
        health = f"unix:{directory}/nobody.sock"
        return Job(worker.number, (behaviour,), {}, health=health)

    made = Supervisor(count, job, timing=Timing(**timing), listener=heard)
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(LIMIT):
            yield made, heard, running
    finally:
        running.cancel()
        await asyncio.wait((running,))
    assert not any(exists(event.pid) for event in heard.of(WorkerServing))
    assert not any(directory.exists() for directory in directories)


async def test_a_stop_in_good_order():
    async with supervised("good", 2) as (made, heard, running):
        await heard.told(WorkerServing, 2)
        made.ask(Wish.STOP)
        assert await running == 0


async def test_an_exit_status_at_the_stop():
    async with supervised("sulky") as (made, heard, running):
        await heard.told(WorkerServing)
        made.ask(Wish.STOP)
        assert await running == 1
        assert heard.of(StopFailed)[0].reason == "exited with status 7"


async def test_one_that_does_not_listen_to_sigterm():
    async with supervised("deaf") as (made, heard, running):
        await heard.told(WorkerServing)
        made.ask(Wish.STOP)
        assert await running == 1
        assert len(heard.of(WorkerStuck)) == 1


@pytest.mark.parametrize("behaviour", ["garbage", "endless", "no object"])
async def test_one_that_says_what_nobody_understands_never_serves(behaviour):
    async with supervised(behaviour, start=1.0) as (_, heard, running):
        assert await running == 1
        assert heard.of(StartFailed)[0].reason == "did not serve within 1 s and was killed"


async def test_one_whose_life_cannot_be_asked_for_is_started_again():
    async with supervised("good", hang=0.5) as (made, heard, running):
        serving = await heard.told(WorkerServing)
        assert (await heard.told(WorkerHung)).pid == serving.pid
        assert (await heard.told(WorkerRestarted)).pid == serving.pid
        assert (await heard.told(WorkerServing, 2)).pid != serving.pid
        made.ask(Wish.STOP)
        await running


async def test_a_program_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with supervised("good") as (_, heard, running):
        assert await running == 1
        problem = "could not be started: No such file or directory"
        assert heard.of(StartFailed)[0].reason == problem


async def test_a_stop_while_the_first_process_is_being_started():
    async with supervised("good", 2) as (made, heard, running):
        while not asyncio.all_tasks() - {asyncio.current_task(), running}:
            await asyncio.sleep(0)
        made.ask(Wish.STOP)
        assert await running == 0
        assert heard.of(WorkerServing) == []


async def test_when_it_is_cancelled_nothing_is_left():
    async with supervised("deaf", 3) as (_, heard, running):
        await heard.told(WorkerServing, 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not any(exists(event.pid) for event in heard.of(WorkerServing))


class Grumpy(Heard):
    """Hears, and raises."""

    def __call__(self, event) -> None:
        super().__call__(event)
        raise RuntimeError("the user's hook is broken")


async def test_a_hook_that_fails_breaks_nothing(caplog):
    async with supervised("good", 2, heard=Grumpy()) as (made, heard, running):
        await heard.told(WorkerServing, 2)
        made.ask(Wish.ROLL)
        await heard.told(RollingDone)
        made.ask(Wish.STOP)
        assert await running == 0
    assert "a listener failed" in caplog.text
