"""The mend of gRPC's batches: each goes on to its end, where gRPC frees it."""

import asyncio

import pytest

from bench.churn import batches


class Batch:
    """Stands for ``execute_batch``: what the core does is up to the test."""

    def __init__(self):
        self.begun = asyncio.Event()
        self.freed = asyncio.Event()

    async def execute(self, call, operations, loop):
        self.core = loop.create_future()
        self.begun.set()
        await self.core
        self.freed.set()


@pytest.fixture
async def batch(monkeypatch):
    made = Batch()
    monkeypatch.setattr(batches, "_execute_batch", made.execute)
    return made


async def awaited(batch):
    task = asyncio.create_task(batches._to_its_end(None, (), asyncio.get_running_loop()))
    async with asyncio.timeout(5):
        await batch.begun.wait()
    return task


async def test_a_batch_that_nobody_awaits_any_more_is_freed_at_its_end(batch):
    task = await awaited(batch)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not batch.freed.is_set() and not batch.core.cancelled()
    batch.core.set_result(None)
    async with asyncio.timeout(5):
        await batch.freed.wait()


async def test_a_batch_that_fails_is_freed_and_then_fails(batch):
    task = await awaited(batch)
    batch.core.set_exception(RuntimeError("the core's"))
    with pytest.raises(RuntimeError, match="the core's"):
        await task
    assert batch.freed.is_set()


async def test_a_batch_that_succeeds(batch):
    task = await awaited(batch)
    batch.core.set_result(None)
    await task
    assert batch.freed.is_set()
