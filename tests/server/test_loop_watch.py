"""How late the event loop is, known beside it; what blocks it is named once."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from seawall.events import LoopBlocked
from seawall.server.event_loop import monitor as loop_monitor
from seawall.server.event_loop import watch as loop_watch
from seawall.server.event_loop.monitor import LOOK, Monitor, Step, _View, step_of
from seawall.server.event_loop.stack import Position, Sample, named
from seawall.server.event_loop.watch import TICK, LoopWatch
from tests.heard import Heard
from tests.protos import echo_pb2 as pb

LIMIT = 20.0


class Lines(logging.Handler):
    """What seawall.server logs, for any thread to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._news = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._news:
            self.lines.append(record.getMessage())
            self._news.notify_all()

    def of(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]

    def wait_for(self, text: str, times: int = 1) -> bool:
        with self._news:
            return self._news.wait_for(lambda: len(self.of(text)) >= times, LIMIT)


@pytest.fixture
def lines(monkeypatch):
    handler = Lines()
    logger = logging.getLogger("seawall.server")
    logger.addHandler(handler)
    monkeypatch.setattr(loop_monitor.monitor, "_told", type(loop_monitor.monitor._told)())
    monkeypatch.setattr(loop_monitor.monitor, "_places", set())
    yield handler
    logger.removeHandler(handler)


@asynccontextmanager
async def watched(heard, bound=0.2):
    owner = object()
    watch = LoopWatch.join(owner, heard, bound)
    try:
        while not watch.ticks:
            await asyncio.sleep(0)
        yield watch
    finally:
        watch.leave(owner)


def until(holds) -> bool:
    """Wait in this thread until something holds that other threads change."""
    end = time.monotonic() + LIMIT
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.005)
    return bool(held)


def block(holds) -> None:
    """Block the event loop, until another thread has seen that something holds."""
    released = threading.Event()

    def look() -> None:
        until(holds)
        released.set()

    threading.Thread(target=look).start()
    assert released.wait(LIMIT)


async def in_time(watch: LoopWatch) -> None:
    async with asyncio.timeout(LIMIT):
        while watch.lag > TICK or watch.blocked > TICK:
            await asyncio.sleep(0)


async def test_the_lag_of_a_block_is_known_while_it_lasts():
    heard = Heard()
    async with watched(heard) as watch:
        seen = []
        block(lambda: seen.append((watch.lag, watch.blocked)) or watch.lag > 0.4)
        assert seen[-1][0] > 0.4 and seen[-1][1] > 0.4
        async with asyncio.timeout(LIMIT):
            while not watch.blocks:
                await asyncio.sleep(0)
        assert 0.4 < watch.last_block <= watch.blocked_seconds
        assert watch.last_block <= watch.peak
        await in_time(watch)
        assert watch.peak > 0.4


async def test_what_blocks_is_named_with_its_stack_once(lines):
    heard = Heard()

    def of_orders() -> list[LoopBlocked]:
        return [event for event in heard.of(LoopBlocked) if "handler_of_orders" in event.by]

    async def handler_of_orders() -> None:
        for round_ in (1, 2):
            lagging = watch.blocks
            block(lambda: lines.wait_for("handler_of_orders") and watch.blocked > 0.5)
            while watch.blocks == lagging:
                await asyncio.sleep(0)
            await heard.until(lambda: len(of_orders()) == round_)  # noqa: B023

    async with watched(heard) as watch, asyncio.timeout(LIMIT):
        await asyncio.create_task(handler_of_orders(), name="nightly orders")
        assert await asyncio.to_thread(lines.wait_for, f"s in {of_orders()[0].place}")
    (told,) = lines.of("handler_of_orders")
    assert "handler_of_orders of task 'nightly orders' at " in told
    assert "test_loop_watch.py" in told and "released.wait(LIMIT)" in told
    first, second = of_orders()
    assert first.place == second.place
    assert len(lines.of(f"in {first.place}")) == 1
    assert first.duration > 0.4 and second.duration > 0.4


async def test_a_handler_is_named_and_not_what_stands_round_it(start, echo, lines):
    heard = Heard()
    service = await start(blocked_after=0.2, listener=heard)

    async def blocking(name, context):
        block(lambda: lines.wait_for("blocked by EchoService.Say at "))

    service.hook = blocking
    await echo.Say(pb.EchoRequest(text="hello"), timeout=LIMIT)
    await heard.until(lambda: [e for e in heard.of(LoopBlocked) if e.by == "EchoService.Say"])
    (told,) = lines.of("blocked by EchoService.Say at ")
    assert "echo.py" in told


async def test_a_loop_that_does_many_things_blames_none_of_them(lines):
    heard = Heard()
    async with watched(heard) as watch, asyncio.timeout(LIMIT):
        loop = asyncio.get_running_loop()

        def short() -> None:
            time.sleep(0.02)

        while not lines.of("many short tasks"):
            for _ in range(30):
                loop.call_soon(short)
            await asyncio.sleep(0)
            while watch.lag > TICK:
                await asyncio.sleep(0)
            await heard.told(LoopBlocked)
    assert not lines.of("short at")


async def test_code_that_keeps_the_interpreter_lock_is_named(lines):
    heard = Heard()

    async def sums() -> None:
        size = 1_000_000
        while not lines.of("sums at"):
            sum(range(size))  # C code: no other thread runs meanwhile
            size = min(2 * size, 100_000_000)
            ticks = watch.ticks
            while watch.ticks < ticks + 2:
                await asyncio.sleep(0)
        await heard.until(lambda: [e for e in heard.of(LoopBlocked) if e.by.endswith("sums")])

    async with watched(heard, 0.3) as watch, asyncio.timeout(LIMIT):
        await asyncio.create_task(sums())


async def test_a_debugger_is_not_held_against_the_loop(lines):
    heard = Heard()
    namespace = {"__name__": "bdb", "block": block}
    exec("def interaction(holds):\n    block(holds)", namespace)
    async with watched(heard) as watch:
        looked = []
        namespace["interaction"](lambda: looked.append(watch.blocked) or watch.lag > 1.2)
        assert max(looked) < 0.8
        await in_time(watch)
    assert not [event for event in heard.of(LoopBlocked) if "debugger" in event.by]
    assert not lines.of("interaction")


async def test_servers_of_one_loop_share_a_watch_and_the_last_ends_it():
    heard = Heard()
    one, other = object(), object()
    before = set(threading.enumerate())
    watch = LoopWatch.join(one, heard, 0.5)
    assert LoopWatch.join(other, heard, 0.1) is watch
    assert watch.bound == 0.1
    watch.leave(other)
    assert watch.bound == 0.5
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon and thread.name == "seawall loop monitor"
    watch.leave(one)
    watch.leave(one)
    await asyncio.to_thread(thread.join, LIMIT)
    assert not thread.is_alive()
    ticks = watch.ticks
    next_one = LoopWatch.join(one, heard, 0.5)
    assert next_one is not watch
    async with asyncio.timeout(LIMIT):
        while next_one.ticks < 2:
            await asyncio.sleep(0)
    assert watch.ticks == ticks
    next_one.leave(one)


def test_a_loop_that_was_closed_is_forgotten():
    async def join() -> LoopWatch:
        return LoopWatch.join(object(), Heard())

    watch = asyncio.run(join())
    assert watch.blocked == 0
    assert until(lambda: watch not in loop_monitor.monitor._views)


CHILD = """
import asyncio, logging, sys
from seawall.server.event_loop.watch import LoopWatch
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")

async def main():
    watch = LoopWatch.join("owner", print, 0.25)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while await reader.readline():
        ticks = watch.ticks
        while watch.ticks < ticks + 6:
            await asyncio.sleep(0.01)
        print("turned", watch.peak > 0.5, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_was_stopped_blames_nobody():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, stdin=-1, stdout=-1, stderr=-1
    )
    async with asyncio.timeout(30):
        try:
            assert await child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGSTOP)
            pid, status = await asyncio.to_thread(os.waitpid, child.pid, os.WUNTRACED)
            assert pid == child.pid and os.WIFSTOPPED(status)
            await asyncio.sleep(0.8)  # the fault
            child.send_signal(signal.SIGCONT)
            child.stdin.write(b"\n")
            # The lag is true all the same: what came meanwhile has waited.
            assert await child.stdout.readline() == b"turned True\n"
            child.stdin.close()
            assert await child.stderr.read() == b""
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


@pytest.mark.parametrize(
    ("seconds", "cpu", "step"),
    [
        (LOOK, 0.0, Step()),
        (1.5 * LOOK, 0.0, Step()),  # a machine that is busy
        (60 + LOOK, 0.0, Step(frozen=60)),  # SIGSTOP, a laptop that slept
        (60 + LOOK, 59.0, Step(kept_off=True)),  # C code that kept the interpreter lock
    ],
)
def test_whether_the_process_did_not_run(seconds, cpu, step):
    assert step_of(seconds, cpu) == step


class FakeLoop:
    def __init__(self) -> None:
        self.due = []

    def call_soon(self, callback):
        self.due.append(callback)
        return SimpleNamespace(cancel=lambda: None)

    def call_later(self, delay, callback):
        return self.call_soon(callback)

    def call_soon_threadsafe(self, callback, *arguments):
        callback(*arguments)

    def is_running(self):
        return True

    def is_closed(self):
        return False


@pytest.fixture
def staged(monkeypatch):
    """A watch of a loop that turns when it is told to, on a clock that stands still."""
    now = [100.0]
    monkeypatch.setattr(loop_watch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return SimpleNamespace(now=now, watch=LoopWatch(FakeLoop()), view=_View(), monitor=Monitor())


def turn(staged) -> None:
    staged.watch.loop.due.pop()()


def test_what_is_forgiven_is_forgiven_until_the_next_tick(staged):
    turn(staged)
    staged.monitor.look(staged.watch, staged.view, Step())
    staged.now[0] += 30
    staged.monitor.look(staged.watch, staged.view, Step(frozen=29.9))
    assert staged.watch.blocked == pytest.approx(0.1 - TICK)
    assert staged.watch.lag == pytest.approx(30 - TICK)
    assert staged.view.block is None
    turn(staged)
    assert staged.watch.blocked == 0
    staged.now[0] += 1
    assert staged.watch.blocked == pytest.approx(1 - TICK)


@pytest.mark.parametrize("kept_off", [False, True])
def test_one_look_is_enough_only_if_no_other_could_be(staged, kept_off, lines):
    turn(staged)
    staged.now[0] += 1
    staged.monitor.look(staged.watch, staged.view, Step(kept_off=kept_off))
    assert (staged.view.block is not None) is kept_off
    staged.now[0] += LOOK
    staged.monitor.look(staged.watch, staged.view, Step())
    block = staged.view.block
    assert block is not None and not block.ended.is_set()
    turn(staged)
    staged.monitor.look(staged.watch, staged.view, Step())
    assert staged.view.block is None and block.ended.is_set()
    assert block.duration == pytest.approx(1 + LOOK - TICK)
    assert lines.wait_for("turns again")


def test_the_peak_is_kept_for_ten_seconds_and_not_for_ever(staged):
    turn(staged)
    staged.now[0] += 3
    turn(staged)
    peaks = []
    for _ in range(450):
        staged.now[0] += TICK
        turn(staged)
        peaks.append(staged.watch.peak)
    assert all(peak > 2.9 for peak in peaks[:190])
    assert peaks[-1] < 0.001


async def test_reports_are_few_even_if_each_is_of_another_line(staged, lines):
    blocks = [
        loop_monitor.Block("compute", f"math.py:{line}", Sample(()), 1.0, 0) for line in range(50)
    ]
    assert [staged.monitor._is_news(one) for one in blocks].count(True) == 3
    assert not staged.monitor._is_news(blocks[0])


def test_who_is_to_blame():
    ours = Position("seawall.server.calls.handlers", "handlers.py", "Handlers.handle", 1)
    theirs = Position("shop", "shop.py", "Orders.Place", 7)
    deeper = Position("json", "json.py", "dumps", 9)
    assert Sample((ours, theirs, deeper)).culprit == theirs
    assert Sample((ours,)).culprit == ours
    assert Sample(()).culprit is None
    assert Sample((theirs, Position("_pydevd_bundle.pydevd", "p.py", "f", 1))).debugged
    assert not Sample((ours, theirs, deeper)).debugged
    assert named("nightly") == "nightly"
    assert named("Task-12") == named("HandleExceptions[/shop.v1.Orders/Place]") == ""
