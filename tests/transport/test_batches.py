"""Batches at gRPC's core: carried to their end and freed, whoever waits, on any event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import grpc
import pytest
from grpc import aio

from seawall.transport import batches
from seawall.transport.batches import Batch, core, free_all
from seawall.transport.direct import DirectAttempt, directly
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
LIMIT = 20.0

direct_only = pytest.mark.skipif(
    os.environ.get("SEAWALL_GRPC") == "public", reason="about what that switches off"
)


class Ends(list[str]):
    """What batches say at their ends."""

    def of(self, name: str) -> Named:
        return Named(self, name)


class Named(Batch):
    """A batch that says when it is over."""

    def __init__(self, ends: Ends, name: str) -> None:
        super().__init__(asyncio.get_running_loop())
        self.ends, self.name = ends, name

    def over(self) -> None:
        self.ends.append(f"{self.name}: {self.failure!r}")
        if self.name == "fails":
            raise LookupError("mine")


async def fake(call: Any, operations: Any, loop: Any) -> None:
    """As gRPC's own does it, with what frees the operations in ``operations``."""
    if call is None:
        raise core.InternalError("the core won't")
    await loop.create_future()
    operations()


def cannot() -> None:
    raise MemoryError("no room to take it in")


async def test_each_is_freed_and_then_over_however_it_ends(monkeypatch):
    monkeypatch.setattr(batches, "_execute", fake)
    freed, ends = Counter[str](), Ends()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
    for name in ("well", "badly", "fails"):
        batch = ends.of(name)
        batch.start("call", lambda name=name: freed.update([name]))  # type: ignore[arg-type]
        assert batch._coroutine is not None and not batch.cancelled()
        batch.set_exception(ValueError()) if name == "badly" else batch.set_result(None)
        assert batch._coroutine is None
    unfit = ends.of("unfit")
    unfit.start("call", cannot)  # type: ignore[arg-type]
    unfit.set_result(None)
    with pytest.raises(core.InternalError):
        ends.of("refused").start(None, ())
    await asyncio.sleep(0)
    assert freed == {"well": 1, "badly": 1, "fails": 1}
    assert ends == [
        "well: None",
        "badly: ValueError()",
        "fails: None",
        "unfit: MemoryError('no room to take it in')",
    ]
    assert [type(each["exception"]) for each in told] == [LookupError]


def test_one_of_a_closed_loop_is_freed_and_nobody_told(monkeypatch):
    monkeypatch.setattr(batches, "_execute", fake)
    freed, ends = [], Ends()

    async def begin() -> Batch:
        batch = ends.of("late")
        batch.start("call", lambda: freed.append("late"))  # type: ignore[arg-type]
        return batch

    async def end(batch: Batch) -> None:
        batch.call_soon_threadsafe(batch.set_result, None)

    asyncio.run(end(asyncio.run(begin())))
    assert freed == ["late"] and ends == []


def test_one_of_another_loop_goes_on_when_that_runs(monkeypatch):
    monkeypatch.setattr(batches, "_execute", fake)
    ends = Ends()

    async def begin() -> Batch:
        batch = ends.of("other")
        batch.start("call", lambda: ends.append("freed"))  # type: ignore[arg-type]
        return batch

    async def end(batch: Batch) -> None:
        batch.call_soon_threadsafe(batch.set_result, None)
        assert ends == []

    with asyncio.Runner() as first:
        one, two = first.run(begin()), first.run(begin())
        asyncio.run(end(one))  # in the same thread
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, end(two)).result()
        first.run(asyncio.sleep(0))
    assert ends == ["freed", "other: None"] * 2


class Gate(pb_grpc.EchoServicer):
    """A server in threads: answers when it is told to, whatever event loops there are."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def Say(self, request: Any, context: Any) -> Any:
        assert self.open.wait(LIMIT)
        return pb.EchoReply(text=request.text)


@contextmanager
def gate() -> Iterator[tuple[Gate, str]]:
    server = grpc.server(ThreadPoolExecutor(20))
    servicer = Gate()
    pb_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        servicer.open.set()
        server.stop(None).wait(LIMIT)


def loops() -> list[Any]:
    uvloop = sys.modules.get("uvloop") or pytest.importorskip("uvloop")
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@direct_only
@pytest.mark.parametrize("kind", [0, 1], ids=["asyncio", "uvloop"])
def test_calls_that_a_closed_loop_left_behind_harm_no_other(kind):
    make, left, told = loops()[kind], [], []

    async def leave(address: str) -> None:
        channel = aio.insecure_channel(address)
        stub = pb_grpc.EchoStub(channel)
        method = directly(stub.Say, asyncio.get_running_loop())
        data = REQUEST.SerializeToString()
        left.append(channel)
        left.extend(
            DirectAttempt(method, data, LIMIT, (), told.append, copy_context()) for _ in range(5)
        )

    async def go_on(servicer: Gate, address: str) -> None:
        async with aio.insecure_channel(address) as channel, asyncio.timeout(LIMIT):
            servicer.open.set()
            while any(one._coroutine for one in left if isinstance(one, DirectAttempt)):
                assert (await pb_grpc.EchoStub(channel).Say(REQUEST)).text == "hello"

    free_all()
    with gate() as (servicer, address):
        for _ in range(3):
            servicer.open.clear()
            with asyncio.Runner(loop_factory=make) as first:
                first.run(leave(address))
            with asyncio.Runner(loop_factory=make) as second:
                second.run(go_on(servicer, address))
    assert told == []


@direct_only
async def test_one_whose_awaiter_is_cancelled_is_carried_to_its_end(start, echo, monkeypatch):
    begun, over = Counter[str](), Counter[str]()
    start_batch, end_batch = Batch.start, batches._Awaited.over

    def starts(self: Batch, *what: Any) -> None:
        begun[type(self).__name__] += 1
        start_batch(self, *what)

    def ends(self: Any) -> None:
        assert self._coroutine is None
        over[type(self).__name__] += 1
        end_batch(self)

    await start()
    async with asyncio.timeout(LIMIT):
        assert [reply.text async for reply in echo.Count(pb.EchoRequest(count=1))] == ["0"]
        monkeypatch.setattr(Batch, "start", starts)
        monkeypatch.setattr(batches._Awaited, "over", ends)
        for _ in range(5):
            chat = echo.Chat()
            await chat.write(REQUEST)
            assert (await chat.read()).text == "hello"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await chat.read()
            assert chat.cancelled()
            count = echo.Count(pb.EchoRequest(count=1, delay=30))
            await count.read()
            count.cancel()
        while begun != over:
            await asyncio.sleep(0.005)
    assert begun["_Awaited"] > 50


def test_free_all_leaves_grpc_as_it_is_where_it_is_told_to(monkeypatch):
    monkeypatch.setattr(core, "execute_batch", batches._execute)
    monkeypatch.setenv("SEAWALL_GRPC", " Public ")
    free_all()
    assert core.execute_batch is batches._execute
    monkeypatch.delenv("SEAWALL_GRPC")
    free_all()
    assert core.execute_batch is batches._execute_batch
