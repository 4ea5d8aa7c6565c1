"""A registry that remembers, when it is cancelled, and when the disk does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seawall.call import Listing
from seawall.errors import RegistryError
from seawall.events import Event
from seawall.registry.snapshots import files
from seawall.registry.snapshots.store import MOST_THREADS
from seawall.testing.registry import no_more_tasks_than
from tests.registry.snapshot_fixtures import (
    LIMIT,
    ONE,
    SERVICE,
    Setting,
    eventually,
    setting,
)

__all__ = ["setting"]


class Hang:
    """A disk that does not answer before it is let go."""

    def __init__(self) -> None:
        self.reached = 0
        self.go = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> None:
        self.reached += 1
        self.go.wait(LIMIT)


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.go.set()


async def test_a_disk_that_hangs_does_not_hold_up_the_true_list(
    setting: Setting,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "read", hang)
    monkeypatch.setattr(files, "write", hang)
    setting.put(ONE)
    setting.gated.here.clear()
    await setting.gated.register([ONE])
    registry = setting.open()
    async with asyncio.timeout(LIMIT), contextlib.aclosing(registry.watch(SERVICE)) as updates:
        waiting = asyncio.create_task(anext(updates))
        await eventually(lambda: hang.reached == 1)
        setting.gated.here.set()
        assert await waiting == Listing((ONE,))
        waiting = asyncio.create_task(anext(updates))
        await eventually(lambda: hang.reached == 2)
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_cancelled_in_the_first_wait(setting: Setting) -> None:
    setting.gated.here.clear()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(anext(setting.open().watch(SERVICE)))
    await asyncio.sleep(0)
    waiting.cancel()
    await no_more_tasks_than(before)
    assert waiting.cancelled()


async def test_cancelled_while_the_snapshot_is_read(
    setting: Setting,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "read", hang)
    setting.gated.here.clear()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(anext(setting.open().watch(SERVICE)))
    await eventually(lambda: hang.reached == 1)
    waiting.cancel()
    await no_more_tasks_than(before)
    assert waiting.cancelled()


async def test_a_disk_that_hangs_collects_few_threads(
    setting: Setting,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "read", hang)
    setting.gated.here.clear()
    registry = setting.open()
    for number in range(MOST_THREADS + 2):
        waiting = asyncio.create_task(anext(registry.watch(SERVICE)))
        if number < MOST_THREADS:
            await eventually(lambda wanted=number + 1: hang.reached == wanted)
        else:
            await eventually(lambda: bool(setting.events))
        waiting.cancel()
        await asyncio.wait([waiting])
    assert hang.reached == MOST_THREADS
    (refused,) = setting.events
    assert "its disk hangs" in str(refused)


async def test_cancelled_while_it_is_written(
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first try hangs; the last one, at the end of the watch, writes."""
    hang, real = Hang(), files.write

    def write(*arguments: Any) -> None:
        if not hang.reached:
            hang()
        real(*arguments)

    monkeypatch.setattr(files, "write", write)
    await setting.gated.register([ONE])
    before = asyncio.all_tasks()

    async def read() -> None:
        async for _ in setting.open().watch(SERVICE):
            pass

    task = asyncio.create_task(read())
    await eventually(lambda: hang.reached == 1)
    task.cancel()
    await no_more_tasks_than(before)
    assert setting.ids() == {"one"}
    hang.go.set()
    await eventually(lambda: len(list(setting.directory.iterdir())) == 1)


async def test_a_watch_that_is_left_lying_after_the_snapshot_leaves_nothing(
    setting: Setting,
) -> None:
    setting.put(ONE)
    setting.gated.here.clear()
    before = asyncio.all_tasks()
    async with asyncio.timeout(LIMIT):
        async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
            await anext(updates)
    await no_more_tasks_than(before)


async def test_a_refusal_that_nobody_waits_for_any_more_is_not_shouted_about(
    setting: Setting,
) -> None:
    shouted: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: shouted.append(context))
    setting.put(ONE)
    setting.gated.here.clear()
    setting.gated.refusal = RegistryError("wrong password")
    before = asyncio.all_tasks()
    async with asyncio.timeout(LIMIT):
        async with contextlib.aclosing(setting.open().watch(SERVICE)) as updates:
            await anext(updates)
            setting.gated.here.set()
            await no_more_tasks_than(before)
    gc.collect()
    assert shouted == []


async def test_close_ends_a_watch_that_lives_on_a_snapshot(setting: Setting) -> None:
    setting.put(ONE)
    setting.gated.here.clear()
    registry = setting.open()
    async with asyncio.timeout(LIMIT):
        async with contextlib.aclosing(registry.watch(SERVICE)) as updates:
            await anext(updates)
            waiting = asyncio.create_task(anext(updates))
            await registry.close()
            setting.gated.here.set()
            with pytest.raises(StopAsyncIteration):
                await waiting


async def test_close_writes_what_has_not_been_written(setting: Setting) -> None:
    await setting.gated.register([ONE])
    registry = setting.open()
    async with asyncio.timeout(LIMIT):
        updates = registry.watch(SERVICE)
        await anext(updates)
        await registry.close()
        assert setting.ids() == {"one"}
        await updates.aclose()


async def test_a_listener_that_raises_does_no_harm(setting: Setting) -> None:
    def broken(event: Event) -> None:
        raise ValueError(event)

    setting.put(ONE)
    setting.gated.here.clear()
    registry = setting.open()
    registry.listener = broken
    assert setting.gated.listener is broken
    async with asyncio.timeout(LIMIT), contextlib.aclosing(registry.watch(SERVICE)) as updates:
        assert await anext(updates) == Listing((ONE,))


_STUCK = """
import asyncio, sys, time
from pathlib import Path
from seawall.call import Instance
from seawall.registry.memory import MemoryRegistry
from seawall.registry.snapshots import Remembering, files

files.write = lambda *_: time.sleep(3600)

async def main():
    inner = MemoryRegistry("memory://stuck")
    inner.identity = inner.url
    registry = Remembering(inner, Path(sys.argv[1]))
    await registry.register([Instance("a.B", "one", "127.0.0.1:1001")])
    async for _ in registry.watch("a.B"):
        break
    await registry.close()

asyncio.run(main())
"""


async def test_a_disk_that_hangs_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _STUCK, str(tmp_path / "snapshots")]
    done = await asyncio.to_thread(
        subprocess.run, command, timeout=LIMIT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
