"""Streams that end in the middle, and connections that go under calls: told, never waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode, aio

import seawall
from seawall.balancer.round_robin import RoundRobin, RoundRobinPolicy
from seawall.call import Listing
from seawall.transport import discovery
from tests.echo import plain_server
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

LIMIT = 20.0


async def frozen(name: str, context: Any) -> None:
    await asyncio.Event().wait()


async def test_a_stream_that_breaks_says_where_and_when() -> None:
    class Breaking(pb_grpc.EchoServicer):
        async def Count(self, request: Any, context: Any) -> Any:
            yield pb.EchoReply(text="0")
            await context.abort(StatusCode.DATA_LOSS, "the disk has gone")

    async with plain_server(Breaking()) as address:
        async with seawall.connect(f"static://{address}") as channel:
            call = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=1))
            with pytest.raises(seawall.CallError) as caught:
                async for reply in call:
                    assert reply.text == "0"
    story = caught.value.explain()
    assert "no attempt was sent" not in story
    (attempt,) = caught.value.attempts
    assert attempt.code is caught.value.code() and attempt.duration > 0
    assert attempt.address in story and attempt.candidates == 1


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances that leave the registry are left at once, with all that runs there."""
    monkeypatch.setattr(discovery, "RETIRE_GRACE", 0.0)


def leave(channel: Any) -> None:
    """The instances leave the registry, as this client sees it, and go on serving."""
    for found in channel.discoveries:
        found._apply(Listing(()))


async def test_a_stream_that_waits_for_its_first_message_ends_with_its_connection(
    start, channel, no_patience
) -> None:
    service = await start()
    service.hook = frozen
    stub = pb_grpc.EchoStub(channel)
    call = stub.Count(pb.EchoRequest(count=1))
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
        leave(channel)
        with pytest.raises(seawall.NoEndpoints) as caught:  # it was tried again elsewhere
            await call.read()
    (attempt,) = caught.value.attempts  # type: ignore[attr-defined]
    assert attempt.code is StatusCode.CANCELLED


async def test_a_reader_is_told_and_not_cancelled_when_its_connection_goes(
    start, channel, no_patience
) -> None:
    await start()
    stub = pb_grpc.EchoStub(channel)
    call = stub.Count(pb.EchoRequest(count=1, delay=60))
    async with asyncio.timeout(LIMIT):
        await call.read()
        reading = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        leave(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await reading
    assert caught.value.code() is StatusCode.CANCELLED
    assert len(caught.value.attempts) == 1  # type: ignore[attr-defined]


async def test_a_reader_that_is_cancelled_cancels_its_stream(start, channel) -> None:
    service = await start()
    call = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=1, delay=60))
    async with asyncio.timeout(LIMIT):
        await call.read()
        reading = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await service.cancelled.wait()
    assert call.cancelled()


async def test_what_a_server_says_makes_a_line_of_the_story_each_time(start, echo) -> None:
    service = await start()
    said = "first\nsecond\x1b[31m\r\n" + "x" * 3000

    async def refuse(name: str, context: Any) -> None:
        await context.abort(StatusCode.UNAVAILABLE, said)

    service.hook = refuse
    with pytest.raises(seawall.CallError) as caught:
        await echo.Say(pb.EchoRequest(text="x"), timeout=10)
    story = caught.value.explain()
    assert len(caught.value.attempts) == 3 and story == str(caught.value)
    assert all(len(line) <= 502 and line.isprintable() for line in story.splitlines())
    assert len(story.splitlines()) <= 6
    assert "x" * 3000 in caught.value.details()


class Deaf(RoundRobin):
    """A balancer of the user's own, with a mistake in it."""

    reports_from = 1

    def report(self, endpoint: Any, load: Any, now: float) -> None:
        raise LookupError("a mistake")


async def test_a_balancer_that_fails_at_the_end_of_a_stream_keeps_nobody_waiting(
    start, registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await start()
    monkeypatch.setattr(RoundRobinPolicy, "build", lambda *_: Deaf(lambda: 0.5))
    document = {"loadBalancingConfig": [{"round_robin": {}}]}
    async with seawall.connect(registry, service_config=document) as channel:
        call = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=2))
        async with asyncio.timeout(LIMIT):
            assert [reply.text async for reply in call] == ["0", "1"]
            assert await call.code() is StatusCode.OK
    assert "could not be learnt from" in caplog.text
