"""Attempts straight at gRPC's core: what servers answer, who is told, and what ends them."""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from grpc import StatusCode, aio

import seawall
from seawall.transport import direct
from seawall.transport.direct import DirectAttempt, DirectMethod, directly, until_ended
from tests.echo import EchoService, failing, plain_server
from tests.http2 import message
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.transport.raw_server import answering

SAY = "/seawall.tests.Echo/Say"
REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)
HELLO = message(pb.EchoReply(text="hello").SerializeToString())
LIMIT = 20.0
caller: ContextVar[str] = ContextVar("caller", default="nobody")

pytestmark = pytest.mark.skipif(
    os.environ.get("SEAWALL_GRPC") == "public", reason="about what that switches off"
)


async def said(address: str) -> tuple[StatusCode, str]:
    """How a call that is not attempted twice ends."""
    async with asyncio.timeout(LIMIT), seawall.connect(f"static://{address}") as channel:
        call = pb_grpc.EchoStub(channel).Charge(REQUEST)
        code = await call.code()
        assert isinstance(call._inner, DirectAttempt) is (code is StatusCode.OK)
        return code, await call.details()


@pytest.mark.parametrize(
    ("trailing", "body", "code", "details"),
    [
        ([("grpc-status", "0")], HELLO, StatusCode.OK, ""),
        ([("grpc-status", "0")], message(b""), StatusCode.OK, ""),
        ([("grpc-status", "5")], b"", StatusCode.NOT_FOUND, ""),
        ([("grpc-status", "5")], HELLO, StatusCode.NOT_FOUND, ""),
        ([("grpc-status", "17"), ("grpc-message", "odd")], b"", StatusCode.UNKNOWN, "odd"),
        ([("grpc-status", "99")], HELLO, StatusCode.UNKNOWN, ""),
        ([("grpc-status", "5"), ("grpc-message", "%ff%zz")], b"", StatusCode.NOT_FOUND, None),
        ([("grpc-status", "0")], b"", StatusCode.INTERNAL, "no response"),
        ([("grpc-status", "0")], message(b"\xff" * 3), StatusCode.INTERNAL, "can't read the res"),
    ],
)
async def test_whatever_a_server_answers_ends_the_call(trailing, body, code, details):
    async with answering(*trailing, body=body) as address:
        got, words = await said(address)
    assert got is code
    assert details is None or (details in words if details else words == "")


async def test_a_status_with_more_metadata_than_fits():
    class Much(pb_grpc.EchoServicer):
        async def Charge(self, request: Any, context: Any) -> None:
            await context.abort(StatusCode.NOT_FOUND, "", (("x-much", "x" * 100_000),))

    async with plain_server(Much()) as address:
        assert (await said(address))[0] is StatusCode.RESOURCE_EXHAUSTED


async def test_what_users_give_is_run_in_its_callers_context(start, registry):
    seen: dict[str, set[str]] = {}

    def note(what: str, *_: Any) -> None:
        seen.setdefault(what, set()).add(caller.get())

    async def instead(call: Any, failure: Any) -> pb.EchoReply:
        note("fallback")
        return pb.EchoReply(text=caller.get())

    for _ in range(2):
        (await start()).hook = failing(StatusCode.UNAVAILABLE)
    async with seawall.connect(registry) as channel, asyncio.timeout(LIMIT):
        stub = pb_grpc.EchoStub(channel)

        async def one(name: str) -> None:
            caller.set(name)
            with seawall.options(fallback=instead):
                call = stub.Say(REQUEST, timeout=10)
            told = asyncio.Event()
            call.add_done_callback(lambda _: (note("callback"), told.set()))
            assert (await call).text == name
            await told.wait()

        await asyncio.gather(*(one(str(n)) for n in range(5)))
    assert seen["fallback"] == seen["callback"] == {"0", "1", "2", "3", "4"}


class Ends(list[tuple[StatusCode, str]]):
    """Of attempts: how they ended, and in whose context that was told."""

    def __call__(self, attempt: DirectAttempt) -> None:
        self.append((attempt.status, caller.get()))


@pytest.fixture
async def say(start):
    """The method on a channel of gRPC's own, and who answers."""
    service = await start(host="127.0.0.1", unix_socket=False)
    async with aio.insecure_channel(service.address) as channel:
        made = directly(pb_grpc.EchoStub(channel).Say, asyncio.get_running_loop())
        assert isinstance(made, DirectMethod)
        yield made, service


def attempt(method: DirectMethod, done: Any, request: Any = REQUEST) -> DirectAttempt:
    return DirectAttempt(method, request.SerializeToString(), 10.0, (), done, copy_context())


async def test_an_end_is_told_once_where_it_began(say):
    method, service = say
    ends = Ends()
    caller.set("first")
    quick, slow = attempt(method, ends), attempt(method, ends, SLOW)
    caller.set("second")
    async with asyncio.timeout(LIMIT):
        await quick.end()
        assert ends == [(StatusCode.OK, "first")] and quick.response.text == "hello"
        await service.running.wait()
        waiting = [asyncio.create_task(slow.end()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        for each in (slow, slow, quick):
            each.cancel()
        await asyncio.wait(waiting)
        await service.cancelled.wait()
    slow.cancel()
    assert ends[1:] == [(StatusCode.CANCELLED, "first")] and not method.active
    assert waiting[0].cancelled() and not waiting[1].cancelled()
    assert await slow.details() == "Locally cancelled by application!"
    with pytest.raises(aio.AioRpcError):
        await slow.wait_for_connection()


async def test_what_a_callback_raises_is_told_and_stops_nobody(say):
    method, _ = say
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))

    def fails(_: Any) -> None:
        raise LookupError("mine")

    ends = Ends()
    async with asyncio.timeout(LIMIT):
        first = [attempt(method, fails) for _ in range(3)]
        for each in (*first, attempt(method, ends)):
            await each.end()
        await asyncio.sleep(0)
    assert [type(each["exception"]) for each in told] == [LookupError] * 3
    assert [status for status, _ in ends] == [StatusCode.OK] and not method.active


def test_what_ends_the_program_gets_through():
    def fails(_: Any) -> None:
        raise KeyboardInterrupt

    async def program(ends: Any) -> None:
        async with EchoService(host="127.0.0.1") as service:
            async with aio.insecure_channel(service.address) as channel:
                loop = asyncio.get_running_loop()
                one = attempt(directly(pb_grpc.EchoStub(channel).Say, loop), ends)
                async with asyncio.timeout(LIMIT):
                    await one.end()
                    await asyncio.Event().wait() if ends is fails else None

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program(fails))
    ends = Ends()
    asyncio.run(program(ends))
    assert [status for status, _ in ends] == [StatusCode.OK]


async def test_what_grpc_does_not_take_ends_the_attempt(say):
    """A call of grpc.aio's own would never end."""
    method, _ = say
    ends = Ends()
    for metadata in ((("Not A Key", "x"),), (("x", "two\nlines"),), (("x", "ä"),)):
        one = DirectAttempt(method, b"", 1.0, metadata, ends, copy_context())
        async with asyncio.timeout(LIMIT):
            await one.end()
    assert [status for status, _ in ends] == [StatusCode.INTERNAL] * 3 and not method.active


async def test_a_closed_channel_takes_no_attempt(start):
    service = await start(host="127.0.0.1", unix_socket=False)
    async with aio.insecure_channel(service.address) as channel:
        method = directly(pb_grpc.EchoStub(channel).Say, asyncio.get_running_loop())
    with pytest.raises(aio.UsageError):
        attempt(method, Ends())
    assert not method.active


@pytest.mark.parametrize("grace", [None, 0.05, 20.0])
async def test_what_is_under_way_has_the_grace(say, grace):
    method, service = say
    ends = Ends()
    request = pb.EchoRequest(delay=0.3) if grace == 20.0 else SLOW
    attempts = [attempt(method, ends, request) for _ in range(3)]
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
        await until_ended([method], grace)
        for each in attempts:
            await each.end()
    code = StatusCode.OK if grace == 20.0 else StatusCode.CANCELLED
    assert [status for status, _ in ends] == [code] * 3 and not method.active


async def test_where_a_name_is_missing_attempts_are_grpcs_own(start, registry, monkeypatch):
    await start()
    monkeypatch.setattr(direct, "usable", lambda *names: False)
    async with seawall.connect(registry) as channel, asyncio.timeout(LIMIT):
        call = pb_grpc.EchoStub(channel).Say(REQUEST)
        assert (await call).text == "hello" and isinstance(call._inner, aio.Call)
