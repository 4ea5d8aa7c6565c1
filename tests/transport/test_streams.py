"""The three streaming arities, over real servers."""

import asyncio
import gc

import pytest
from grpc import StatusCode, aio

import seawall
from seawall.transport.requests import BUFFER_LIMIT
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.transport.test_unary import until

THREE = pb.EchoRequest(count=3)


def requests(count=3):
    return [pb.EchoRequest(text=str(n)) for n in range(count)]


async def generated(count=3):
    for request in requests(count):
        yield request


async def texts(call):
    return [reply.text async for reply in call]


async def test_unary_stream_iterated(start, echo):
    await start()
    call = echo.Count(THREE)
    assert isinstance(call, aio.UnaryStreamCall)
    assert await texts(call) == ["0", "1", "2"]
    assert await call.code() is StatusCode.OK and call.done()


async def test_unary_stream_read(start, echo):
    await start()
    call = echo.Count(THREE)
    assert (await call.read()).text == "0"
    assert (await call.read()).text == "1"
    assert (await call.read()).text == "2"
    assert await call.read() is aio.EOF
    assert await call.read() is aio.EOF


async def test_an_empty_stream(start, echo):
    await start()
    assert await texts(echo.Count(pb.EchoRequest(count=0))) == []


@pytest.mark.parametrize("source", [requests, generated], ids=["iterable", "async iterable"])
async def test_stream_unary(start, echo, source):
    await start()
    call = echo.Join(source())
    assert isinstance(call, aio.StreamUnaryCall)
    assert (await call).text == "0,1,2"


async def test_stream_unary_written(start, echo):
    await start()
    call = echo.Join()
    for request in requests():
        await call.write(request)
    await call.done_writing()
    assert (await call).text == "0,1,2"
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(requests()[0])


async def test_stream_stream(start, echo):
    await start()
    assert await texts(echo.Chat(generated())) == ["0", "1", "2"]


async def test_a_conversation(start, echo):
    await start()
    call = echo.Chat()
    assert isinstance(call, aio.StreamStreamCall)
    for request in requests():
        await call.write(request)
        assert (await call.read()).text == request.text
    await call.done_writing()
    assert await call.read() is aio.EOF
    assert await call.code() is StatusCode.OK


async def test_initial_metadata_comes_before_the_first_message(start, echo):
    async def hook(name, context):
        await context.send_initial_metadata((("hello", "there"),))

    (await start()).hook = hook
    call = echo.Chat()
    await call.wait_for_connection()
    async with asyncio.timeout(5):
        assert dict(await call.initial_metadata())["hello"] == "there"
    await call.done_writing()
    assert await call.read() is aio.EOF


async def test_streams_have_no_default_deadline(start, echo):
    await start()
    async for reply in echo.Count(THREE):
        assert reply.remaining == -1
    async for reply in echo.Count(THREE, timeout=3):
        assert 2 < reply.remaining < 3.0


async def test_a_stream_that_fails_before_its_first_message_is_retried(start, echo):
    for _ in range(2):
        (await start()).hook = failing(times=1)
    assert await texts(echo.Count(THREE)) == ["0", "1", "2"]


async def test_the_same_requests_go_to_the_next_attempt(start, echo):
    services = [await start() for _ in range(2)]
    for service in services:
        service.hook = failing(times=1)
    assert (await echo.Join(generated(5))).text == "0,1,2,3,4"
    assert sum(len(s.seen) for s in services) == 3


async def test_more_requests_than_are_kept_bind_the_call(start, echo):
    services, held = [await start() for _ in range(2)], asyncio.Event()

    async def fail_late(name, context):
        await held.wait()
        await context.abort(StatusCode.UNAVAILABLE, "too late")

    for service in services:
        service.hook = fail_late

    def big():
        for number in range(4):
            if number == 3:
                held.set()
            yield pb.EchoRequest(text="x" * (BUFFER_LIMIT // 2))

    async with asyncio.timeout(20):
        with pytest.raises(seawall.CallError, match="than are kept"):
            await echo.Join(big())
    assert sum(len(s.seen) for s in services) == 1


async def test_a_stream_that_breaks_half_way_raises_where_it_is_read(start, echo):
    service = await start()

    async def count(request, context):
        yield pb.EchoReply(text="0")
        await context.abort(StatusCode.DATA_LOSS, "half way")

    service.Count = count
    call = echo.Chat(generated(1))
    assert await texts(call) == ["0"]
    await service.stop()


async def test_a_conversation_with_effects_is_not_repeated(start, echo):
    services = [await start() for _ in range(2)]
    for service in services:
        service.hook = failing()
    call = echo.Chat(generated())
    with pytest.raises(seawall.CallError):  # of any code: grpc.aio may lose it, see the docs
        await texts(call)
    assert sum(len(s.seen) for s in services) == 1


async def test_a_status_that_grpc_has_lost_is_held_against_nobody(start, echo, channel):
    """grpc.aio says INTERNAL of a conversation that is written to after the server ended it."""
    (await start()).hook = failing(StatusCode.PERMISSION_DENIED)
    for _ in range(20):
        with pytest.raises(seawall.CallError):
            await texts(echo.Chat(generated(20)))
    assert channel.discoveries[0].group.endpoints[0].breaker.failures == 0


async def test_cancelling_before_the_first_message(start, echo):
    service = await start()
    call = echo.Count(pb.EchoRequest(count=0, delay=30))
    await service.running.wait()
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(5):
        await service.cancelled.wait()
    assert await call.code() is StatusCode.CANCELLED


async def test_cancelling_half_way_reaches_the_server(start, echo, channel):
    service = await start()
    call = echo.Count(pb.EchoRequest(count=1, delay=30))
    assert (await call.read()).text == "0"
    assert call.cancel() and not call.cancel() and call.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    async with asyncio.timeout(5):
        await service.cancelled.wait()
    assert channel.discoveries[0].group.endpoints[0].outstanding == 0


async def test_a_stream_dropped_half_read_is_released(start, echo, channel):
    service = await start()
    call = echo.Count(pb.EchoRequest(count=1, delay=30))
    assert (await call.read()).text == "0"
    endpoint = channel.discoveries[0].group.endpoints[0]
    assert endpoint.outstanding == 1
    del call
    gc.collect()
    async with asyncio.timeout(5):
        await service.cancelled.wait()
    await until(lambda: endpoint.outstanding == 0)


async def test_an_endpoint_is_busy_for_as_long_as_its_stream(start, echo, channel):
    await start()
    call = echo.Chat()
    await call.write(pb.EchoRequest(text="x"))
    await call.read()
    endpoint = channel.discoveries[0].group.endpoints[0]
    assert endpoint.outstanding == 1
    await call.done_writing()
    assert await call.read() is aio.EOF
    await until(lambda: endpoint.outstanding == 0)


async def test_requests_that_fail_to_come_end_the_call(start, echo):
    await start()

    async def broken():
        yield pb.EchoRequest(text="0")
        raise RuntimeError("no more")

    call = echo.Join(broken())
    async with asyncio.timeout(5):
        assert await call.code() is StatusCode.CANCELLED
    assert "no more" in await call.details()


async def test_writing_to_a_call_that_has_failed(start, echo):
    (await start()).hook = failing(StatusCode.PERMISSION_DENIED)
    call = echo.Join()
    with pytest.raises(seawall.CallError) as caught:
        async with asyncio.timeout(5):
            while True:
                await call.write(pb.EchoRequest(text="x"))
                await asyncio.sleep(0)
    assert caught.value.code() is StatusCode.PERMISSION_DENIED


async def test_iterator_and_write_do_not_mix(start, echo):
    await start()
    call = echo.Join(generated())
    with pytest.raises(aio.UsageError):
        await call.write(pb.EchoRequest())
    await call


async def test_a_fallback_for_a_stream(start, echo):
    (await start()).hook = failing()
    with seawall.options(fallback=[pb.EchoReply(text="a"), pb.EchoReply(text="b")]):
        assert await texts(echo.Count(THREE)) == ["a", "b"]


async def test_many_messages_keep_their_order(start, echo):
    await start()
    sent = [str(n) for n in range(500)]
    assert await texts(echo.Chat(generated(500))) == sent


@pytest.mark.parametrize("answer", [pb.EchoReply(), None], ids=["message", "none"])
async def test_a_fallback_that_is_no_stream_is_told(start, echo, answer):
    (await start()).hook = failing()
    with seawall.options(fallback=answer):
        async with asyncio.timeout(5):
            with pytest.raises(seawall.CallError, match="no iterable"):
                await texts(echo.Count(THREE))


async def test_a_fallback_may_be_an_async_iterable(start, echo):
    (await start()).hook = failing()

    async def messages():
        yield pb.EchoReply(text="a")

    with seawall.options(fallback=lambda call, failure: messages()):
        assert await texts(echo.Count(THREE)) == ["a"]


async def test_an_upload_is_connected_before_its_first_message(start, echo):
    async def hook(name, context):
        await context.send_initial_metadata((("hello", "there"),))

    (await start()).hook = hook
    call = echo.Join()
    async with asyncio.timeout(5):
        await call.wait_for_connection()
        assert dict(await call.initial_metadata())["hello"] == "there"
    await call.done_writing()
    await call


async def test_an_iterator_that_raises_cancelled_ends_the_call(start, echo):
    await start()

    async def broken():
        yield pb.EchoRequest(text="0")
        raise asyncio.CancelledError

    async with asyncio.timeout(5):
        with pytest.raises(seawall.CallError, match="iterator of requests"):
            await echo.Join(broken())


async def test_a_cancelled_write_cancels_the_call(start, echo):
    await start()
    call = echo.Chat(wait_for_ready=True)
    for _ in range(3):
        await call.write(pb.EchoRequest(text="x"))
    writing = asyncio.create_task(call.write(pb.EchoRequest(text="y" * 10_000_000)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait((writing,))
    if writing.cancelled():  # else it had been taken before
        assert call.cancelled()
    call.cancel()


async def test_a_conversation_dropped_half_read_is_released(start, echo, channel):
    await start()
    more = asyncio.Event()

    async def endless():
        yield pb.EchoRequest(text="x")
        await more.wait()

    call = echo.Chat(endless())
    await call.read()
    endpoint = channel.discoveries[0].group.endpoints[0]
    assert endpoint.outstanding == 1
    del call
    gc.collect()
    await until(lambda: endpoint.outstanding == 0)
