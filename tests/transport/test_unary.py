"""One call after another, over real servers."""

import asyncio
import gc
import pickle
from contextvars import ContextVar

import grpc
import pytest
from grpc import StatusCode, aio
from grpc._cython import cygrpc

import seawall
from seawall import Instance
from seawall.call import Listing
from seawall.registry import Registry
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)


async def until(condition):
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_answers(start, echo):
    await start()
    assert (await echo.Say(REQUEST)).text == "hello"


async def test_the_whole_interface_of_a_call(start, echo):
    await start()
    call = echo.Say(REQUEST, timeout=5)
    assert isinstance(call, aio.UnaryUnaryCall) and isinstance(call, aio.Call)
    done = asyncio.Event()
    call.add_done_callback(lambda ended: done.set())
    assert 4 < call.time_remaining() <= 5
    assert not call.done() and not call.cancelled()
    assert await call.code() is StatusCode.OK
    assert await call.details() == ""
    assert list(await call.initial_metadata()) == []
    assert list(await call.trailing_metadata()) == []
    await call.wait_for_connection()
    assert (await call).text == "hello" and (await call).text == "hello"
    assert call.done() and not call.cancelled() and not call.cancel()
    async with asyncio.timeout(5):
        await done.wait()
    late = []
    call.add_done_callback(late.append)
    assert late == [call]
    assert "succeeded" in call.explain()


async def test_a_call_starts_when_the_stub_is_called(start, echo):
    service = await start()
    call = echo.Say(SLOW)
    async with asyncio.timeout(5):
        await service.running.wait()
    call.cancel()


async def test_a_call_that_nobody_awaits_is_retried_all_the_same(start, echo):
    for _ in range(2):
        (await start()).hook = failing(times=1)
    call = echo.Say(REQUEST)
    await until(call.done)
    assert await call.code() is StatusCode.OK


async def test_metadata_goes_both_ways(start, echo):
    seen = {}

    async def hook(name, context):
        seen.update(context.invocation_metadata())
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last-bin", b"\x00"),))

    (await start()).hook = hook
    call = echo.Say(REQUEST, metadata=(("user-key", "value"), ("raw-bin", b"\x01")))
    await call
    assert seen["user-key"] == "value" and seen["raw-bin"] == b"\x01"
    assert dict(await call.initial_metadata())["first"] == "1"
    assert dict(await call.trailing_metadata())["last-bin"] == b"\x00"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ((("Upper", "x"),), ValueError),
        ((("key", b"bytes"),), ValueError),
        ((("key", 3),), TypeError),
        ((("key",),), TypeError),
    ],
)
async def test_metadata_that_grpc_would_choke_on_is_refused_by_name(start, echo, metadata, error):
    await start()
    with pytest.raises(error, match="metadata"):
        echo.Say(REQUEST, metadata=metadata)
    assert (await echo.Say(REQUEST)).text == "hello"


async def test_an_error_is_grpcs_own_and_explains_itself(start, echo):
    (await start()).hook = failing(StatusCode.NOT_FOUND, (("why", "gone"),))
    with pytest.raises(grpc.RpcError) as caught:
        await echo.Say(REQUEST)
    error = caught.value
    assert isinstance(error, aio.AioRpcError) and isinstance(error, seawall.CallError)
    assert not isinstance(error, seawall.Refused)
    assert error.code() is StatusCode.NOT_FOUND and error.details() == "told to fail"
    assert dict(error.trailing_metadata())["why"] == "gone"
    assert [a.code for a in error.attempts] == [StatusCode.NOT_FOUND]
    assert "attempt 1 at 127.0.0.1" in error.explain()


async def test_errors_survive_pickling(start, echo):
    (await start()).hook = failing(StatusCode.NOT_FOUND)
    with pytest.raises(seawall.CallError) as caught:
        await echo.Say(REQUEST)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.code() is StatusCode.NOT_FOUND and copy.explain() == caught.value.explain()


async def test_an_idempotent_call_survives_a_failing_instance(start, echo, channel):
    await start()
    (await start()).hook = failing()
    await channel.channel_ready()
    await until(lambda: len(channel.discoveries[0].group.ready) == 2)
    for _ in range(50):
        assert (await echo.Say(REQUEST)).text == "hello"


async def test_a_call_with_effects_is_not_repeated(start, echo):
    services = [await start() for _ in range(2)]
    for service in services:
        service.hook = failing()
    with pytest.raises(seawall.CallError, match="not marked idempotent"):
        await echo.Charge(REQUEST)
    assert sum(len(s.seen) for s in services) == 1


async def test_a_call_with_effects_is_repeated_if_the_server_vouches(start, echo):
    vouches = (("grpc-retry-pushback-ms", "0"),)
    services = [await start() for _ in range(2)]
    for service in services:
        service.hook = failing(trailing=vouches, times=1)
    assert (await echo.Charge(REQUEST)).text == "hello"


async def test_cancelling_the_call_reaches_the_server(start, echo):
    service = await start()
    call = echo.Say(SLOW)
    await service.running.wait()
    assert call.cancel() and call.cancelled() and call.done()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is StatusCode.CANCELLED
    async with asyncio.timeout(5):
        await service.cancelled.wait()


async def test_cancelling_the_callers_task_reaches_the_server(start, echo):
    service = await start()

    async def caller():
        await echo.Say(SLOW)

    task = asyncio.create_task(caller())
    await service.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await service.cancelled.wait()


async def test_cancelling_between_attempts(start, echo):
    pushback = (("grpc-retry-pushback-ms", "4000"),)
    service = await start()
    service.hook = failing(trailing=pushback)
    call = echo.Say(REQUEST)
    await until(lambda: call._call.attempts)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(service.seen) == 1


async def test_cancelling_while_there_is_no_endpoint(echo, channel):
    call = echo.Say(REQUEST, wait_for_ready=True)
    await asyncio.sleep(0)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_slow_attempt_is_cancelled_when_another_has_answered(start, echo, channel):
    services = [await start() for _ in range(2)]
    await until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == 2)
    first = []

    async def stuck(name, context):
        if not first:
            first.append(name)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                first.append("cancelled")
                raise

    for service in services:
        service.hook = stuck
    call = echo.Say(REQUEST, timeout=1.0)
    assert (await call).text == "hello"
    assert "DEADLINE_EXCEEDED" in call.explain()
    await until(lambda: first == ["Say", "cancelled"])
    assert [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0, 0]


async def test_the_deadline_is_kept_and_told_to_the_server(start, echo):
    await start()
    reply = await echo.Say(REQUEST, timeout=2.0)
    assert 1.0 < reply.remaining < 2.0
    with pytest.raises(seawall.CallError) as caught:
        await echo.Say(SLOW, timeout=0.2)
    assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


async def test_without_a_timeout_there_is_a_default(start, echo):
    await start()
    assert 4.0 < (await echo.Say(REQUEST)).remaining < 5.0


async def test_no_time_is_refused_here(start, echo):
    service = await start()
    with pytest.raises(seawall.DeadlinePassed) as caught:
        await echo.Say(REQUEST, timeout=0)
    assert isinstance(caught.value, aio.AioRpcError)
    assert service.seen == []


async def test_nobody_serves_it(echo):
    with pytest.raises(seawall.NoEndpoints, match=r"nobody serves seawall\.tests\.Echo"):
        await echo.Say(REQUEST)


async def test_wait_for_ready_waits_for_the_first_instance(start, echo):
    call = echo.Say(REQUEST, wait_for_ready=True)
    await asyncio.sleep(0)
    assert not call.done()
    await start()
    assert (await call).text == "hello"


async def test_an_instance_that_stops_is_not_called_again(start, echo, channel):
    first, second = await start(), await start()
    await until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == 2)
    await first.stop()
    await until(lambda: len(channel.discoveries[0].group.endpoints) == 1)
    before = len(first.seen)
    for _ in range(10):
        assert (await echo.Say(REQUEST)).instance == second.address
    assert len(first.seen) == before


async def test_fallbacks(start, echo):
    (await start()).hook = failing()
    with seawall.options(fallback=pb.EchoReply(text="value")):
        assert (await echo.Charge(REQUEST)).text == "value"
    with seawall.options(fallback=lambda call, failure: pb.EchoReply(text=failure.details)):
        assert (await echo.Charge(REQUEST)).text == "told to fail"

    async def ask(call, failure):
        await asyncio.sleep(0)
        return pb.EchoReply(text="async")

    with seawall.options(fallback=ask):
        call = echo.Charge(REQUEST)
        assert (await call).text == "async"
        assert await call.code() is StatusCode.OK and await call.details() == ""
        assert list(await call.trailing_metadata()) == []
    with pytest.raises(seawall.CallError):
        await echo.Charge(REQUEST)


async def test_a_message_of_the_wrong_type_fails_at_once(start, echo):
    await start()
    with pytest.raises(TypeError):
        await echo.Say(object())
    assert (await echo.Say(REQUEST)).text == "hello"


async def test_a_closed_channel_refuses_and_cancels(start, registry):
    service = await start()
    channel = seawall.connect(registry)
    stub = pb_grpc.EchoStub(channel)
    call = stub.Say(SLOW)
    await service.running.wait()
    await channel.close()
    await channel.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(aio.UsageError, match="closed"):
        stub.Say(REQUEST)
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_closing_with_a_grace_lets_calls_finish(start, registry):
    await start()
    channel = seawall.connect(registry)
    call = pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text="x", delay=0.1))
    await channel.close(grace=5)
    assert (await call).text == "x"


async def test_nothing_is_left_behind(start, echo, channel):
    await start()
    await asyncio.gather(*(echo.Say(REQUEST) for _ in range(20)))
    assert not channel.active
    gc.collect()
    tasks = {t for t in asyncio.all_tasks() if "_invoke" in repr(t)}
    assert not tasks


async def test_many_at_once(start, echo, channel):
    services = [await start() for _ in range(3)]
    await until(lambda: len(channel.discoveries[0].group.ready) == 3)
    replies = await asyncio.gather(*(echo.Say(pb.EchoRequest(text=str(n))) for n in range(300)))
    assert [r.text for r in replies] == [str(n) for n in range(300)]
    assert all(service.seen for service in services)


async def test_a_service_config_is_obeyed(start, registry):
    service = await start()
    service.hook = failing()
    config = {
        "methodConfig": [
            {
                "name": [{"service": "seawall.tests.Echo", "method": "Charge"}],
                "retryPolicy": {
                    "maxAttempts": 2,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.01s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
                "seawall": {"retryNonIdempotent": True},
            },
            {"name": [{"service": "seawall.tests.Echo"}], "timeout": "0.2s"},
        ]
    }
    async with seawall.connect(registry, service_config=config) as channel:
        stub = pb_grpc.EchoStub(channel)
        with pytest.raises(seawall.CallError):
            await stub.Charge(REQUEST)
        assert service.seen == ["Charge", "Charge"]
        service.hook = None
        with pytest.raises(seawall.CallError) as caught:
            await stub.Say(SLOW, timeout=10)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ((("k", "a\nb"),), ValueError),
        ((("k-bin", "text"),), ValueError),
        ((("k", "é"),), ValueError),
    ],
)
async def test_values_that_would_leave_a_call_without_an_end(start, echo, metadata, error):
    await start()
    with pytest.raises(error, match="metadata 'k"):
        echo.Say(REQUEST, metadata=metadata)


async def test_fallbacks_run_in_their_callers_context(start, registry):
    """Limits of many calls share a timer; a call must not go on as another user."""
    for _ in range(2):
        (await start()).hook = failing(StatusCode.INTERNAL)
    user = ContextVar("user")
    slow = {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 2,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.01s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                    "perAttemptRecvTimeout": "0.05s",
                },
            }
        ]
    }
    answered = {}

    async def shop(channel, name):
        user.set(name)

        def answer(call, failure):
            answered[name] = user.get()
            return pb.EchoReply()

        with seawall.options(fallback=answer):
            await pb_grpc.EchoStub(channel).Say(SLOW, timeout=0.5)

    async with seawall.connect(registry, service_config=slow) as channel:
        await pb_grpc.EchoStub(channel).Count(pb.EchoRequest()).code()
        await asyncio.gather(*(shop(channel, name) for name in ("alice", "bob", "carol")))
    assert answered == {"alice": "alice", "bob": "bob", "carol": "carol"}


async def test_a_fallback_that_raises_cancelled_ends_the_call(start, echo):
    (await start()).hook = failing()

    def broken(call, failure):
        raise asyncio.CancelledError

    with seawall.options(fallback=broken):
        async with asyncio.timeout(5):
            with pytest.raises(seawall.CallError) as caught:
                await echo.Charge(REQUEST)
    assert caught.value.code() is StatusCode.UNAVAILABLE


async def test_a_listener_that_raises_breaks_nothing(start, registry, caplog):
    def broken(event):
        raise RuntimeError("boom")

    await start()
    async with seawall.connect(registry, listener=broken) as channel:
        stub = pb_grpc.EchoStub(channel)
        assert (await stub.Say(REQUEST)).text == "hello"
        second = await start()
        await until(lambda: len(channel.discoveries[0].group.ready) == 2)
        await second.stop()
        await until(lambda: len(channel.discoveries[0].group.ready) == 1)
        assert (await stub.Say(REQUEST)).text == "hello"
    assert "boom" in caplog.text


async def test_a_watch_that_fails_is_tried_again(monkeypatch, start, registry):
    service = await start()

    class Shaky(Registry):
        watches = 0

        async def register(self, instances):
            raise AssertionError("not asked")

        async def watch(self, name):
            self.watches += 1
            if self.watches == 1:
                raise OSError("no route")
            yield Listing((Instance(name, "x", service.address),))
            await asyncio.Event().wait()

        async def close(self):
            pass

    monkeypatch.setattr("seawall.transport.discovery.RETRY_WATCH", 0.01)
    async with seawall.connect(Shaky()) as channel:
        assert (await pb_grpc.EchoStub(channel).Say(REQUEST)).text == "hello"


async def test_many_stubs_are_one_method(start, channel):
    await start()
    for _ in range(50):
        await pb_grpc.EchoStub(channel).Say(REQUEST)
    endpoint = channel.discoveries[0].group.endpoints[0]
    assert len(endpoint.transport.callables) == 1


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
async def test_a_timeout_for_ever(start, echo, timeout):
    await start()
    assert (await echo.Say(REQUEST, timeout=timeout)).text == "hello"


async def test_a_timeout_that_is_no_number(start, echo, channel):
    await start()
    with pytest.raises(ValueError, match="not a number"):
        echo.Say(REQUEST, timeout=float("nan"))
    assert not channel.active


async def test_what_grpc_refuses_to_start_ends_the_call(start, echo, channel):
    await start()
    with pytest.raises(seawall.CallError, match="could not be started"):
        await echo.Say(REQUEST, compression=7)
    assert channel.discoveries[0].group.endpoints[0].outstanding == 0


async def test_waiting_for_the_code_can_be_cancelled(start, echo):
    service = await start()
    call = echo.Say(SLOW)
    await service.running.wait()
    waiting = asyncio.create_task(call.code())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not call.done()
    call.cancel()


async def test_a_stub_on_a_closed_channel(registry):
    channel = seawall.connect(registry)
    await channel.close()
    with pytest.raises(aio.UsageError, match="closed"):
        pb_grpc.EchoStub(channel)


async def test_what_grpc_was_given_for_a_call_is_given_back_when_that_is_cancelled(
    start, echo, monkeypatch
):
    """grpc.aio frees the operations of a call only if whoever awaits them is not cancelled."""
    service = await start()
    given_up = []
    execute_batch = cygrpc.execute_batch

    async def watched(call, operations, loop):
        try:
            await execute_batch(call, operations, loop)
        except BaseException as error:
            if type(call).__name__ == "_AioCall":
                given_up.append(error)
            raise

    monkeypatch.setattr(cygrpc, "execute_batch", watched)
    call = echo.Say(SLOW)
    await service.running.wait()
    inner = call._inner
    assert call.cancel()
    async with asyncio.timeout(10):
        assert await inner.code() is StatusCode.CANCELLED
        await service.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(echo.Say(SLOW), 0.05)
    assert (await echo.Say(REQUEST)).text == "hello"
    assert not given_up
