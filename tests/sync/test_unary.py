"""Sync calls with one response, one after the other, over real servers."""

import asyncio
import pickle
import threading
import time

import grpc
import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from seawall.context import Inbound, inbound
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, connected, until

REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=30)


def blocking(method, *arguments, **named):
    return method(*arguments, **named)


def with_call(method, *arguments, **named):
    return method.with_call(*arguments, **named)[0]


def future(method, *arguments, **named):
    return method.future(*arguments, **named).result(LIMIT)


WAYS = pytest.mark.parametrize("call", [blocking, with_call, future])


@WAYS
def test_it_answers(servers, echo, call):
    servers.start()
    assert call(echo.Say, REQUEST).text == "hello"


def test_the_whole_interface_of_a_future(servers, echo):
    servers.start()
    call = echo.Say.future(REQUEST, timeout=5)
    assert isinstance(call, grpc.Call) and isinstance(call, grpc.Future)
    assert 4 < call.time_remaining() <= 5
    done = threading.Event()
    call.add_done_callback(lambda ended: done.set())
    assert call.result(LIMIT).text == "hello" and call.result().text == "hello"
    assert done.wait(LIMIT)
    assert call.code() is StatusCode.OK and call.details() == ""
    assert call.exception() is None and call.traceback() is None
    assert tuple(call.initial_metadata()) == () and dict(call.trailing_metadata()) is not None
    assert call.done() and not call.running() and not call.is_active()
    assert not call.cancelled() and not call.cancel()
    assert not call.add_callback(lambda: None)
    late = []
    call.add_done_callback(late.append)
    assert late == [call]
    assert "succeeded" in call.explain()


def test_the_call_that_comes_with_a_response(servers, echo):
    async def hook(name, context):
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last-bin", b"\x00"),))

    servers.start().hook = hook
    response, call = echo.Say.with_call(REQUEST)
    assert response.text == "hello" and call.result() is response
    assert dict(call.initial_metadata())["first"] == "1"
    assert dict(call.trailing_metadata())["last-bin"] == b"\x00"
    assert call.code() is StatusCode.OK and call.done()


def test_a_future_starts_at_once_and_needs_nobody_to_wait(servers, echo, channel):
    for _ in range(2):
        servers.start().hook = failing(times=1)
    connected(channel, 2)
    call = echo.Say.future(REQUEST)
    until(call.done)
    assert call.code() is StatusCode.OK


@WAYS
def test_metadata_goes_to_the_server(servers, echo, call):
    seen = {}

    async def hook(name, context):
        seen.update(context.invocation_metadata())

    servers.start().hook = hook
    call(echo.Say, REQUEST, metadata=(("user-key", "value"), ("raw-bin", b"\x01")))
    assert seen["user-key"] == "value" and seen["raw-bin"] == b"\x01"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [((("Upper", "x"),), ValueError), ((("key", 3),), TypeError), ((("k-bin", "t"),), ValueError)],
)
def test_metadata_that_grpc_would_choke_on_is_refused_by_name(servers, echo, metadata, error):
    servers.start()
    with pytest.raises(error, match="metadata"):
        echo.Say(REQUEST, metadata=metadata)
    assert echo.Say(REQUEST).text == "hello"


@WAYS
def test_an_error_is_grpcs_own_and_explains_itself(servers, echo, call):
    servers.start().hook = failing(StatusCode.NOT_FOUND, (("why", "gone"),))
    with pytest.raises(grpc.RpcError) as caught:
        call(echo.Say, REQUEST)
    error = caught.value
    assert isinstance(error, seawall.CallError) and isinstance(error, grpc.Call)
    assert not isinstance(error, seawall.Refused)
    assert error.code() is StatusCode.NOT_FOUND and error.details() == "told to fail"
    assert dict(error.trailing_metadata())["why"] == "gone"
    assert [a.code for a in error.attempts] == [StatusCode.NOT_FOUND]
    assert "attempt 1 at 127.0.0.1" in error.explain()


def test_an_error_stands_for_the_ended_call(servers, echo):
    """gRPC's interceptors hand it on in the place of one."""
    servers.start().hook = failing(StatusCode.NOT_FOUND)
    with pytest.raises(seawall.CallError) as caught:
        echo.Say(REQUEST)
    error = caught.value
    assert error.done() and not error.running() and not error.is_active()
    assert not error.cancelled() and not error.cancel() and not error.add_callback(print)
    assert error.exception() is error and error.traceback() is not None
    assert error.time_remaining() is None
    with pytest.raises(seawall.CallError):
        error.result()
    told = []
    error.add_done_callback(told.append)
    assert told == [error]


def test_the_error_of_a_future(servers, echo):
    servers.start().hook = failing(StatusCode.NOT_FOUND)
    call = echo.Say.future(REQUEST)
    assert call.exception(LIMIT).code() is StatusCode.NOT_FOUND
    assert call.code() is StatusCode.NOT_FOUND and call.details() == "told to fail"
    assert call.traceback() is not None and "told to fail" in call.explain()
    assert call.debug_error_string()


def test_errors_survive_pickling(servers, echo):
    servers.start().hook = failing(StatusCode.NOT_FOUND)
    with pytest.raises(seawall.CallError) as caught:
        echo.Say(REQUEST)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, grpc.Call) and copy.explain() == caught.value.explain()


def test_refusals_survive_pickling(echo):
    with pytest.raises(seawall.NoEndpoints) as caught:
        echo.Say(REQUEST)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, seawall.NoEndpoints) and isinstance(copy, grpc.Call)
    assert copy.code() is StatusCode.UNAVAILABLE and copy.explain() == caught.value.explain()


@WAYS
def test_an_idempotent_call_survives_a_failing_instance(servers, echo, channel, call):
    servers.start()
    servers.start().hook = failing()
    connected(channel, 2)
    for _ in range(30):
        assert call(echo.Say, REQUEST).text == "hello"


@WAYS
def test_a_call_with_effects_is_not_repeated(servers, echo, channel, call):
    services = [servers.start() for _ in range(2)]
    for service in services:
        service.hook = failing()
    with pytest.raises(seawall.CallError, match="not marked idempotent"):
        call(echo.Charge, REQUEST)
    assert sum(len(s.seen) for s in services) == 1


@WAYS
def test_a_call_with_effects_is_repeated_if_the_server_vouches(servers, echo, channel, call):
    for _ in range(2):
        servers.start().hook = failing(trailing=(("grpc-retry-pushback-ms", "1"),), times=1)
    connected(channel, 2)
    assert call(echo.Charge, REQUEST).text == "hello"


def test_cancelling_a_future_reaches_the_server(servers, echo):
    service = servers.start()
    call = echo.Say.future(SLOW)
    servers.happened(service.running)
    assert call.running() and call.cancel()
    assert call.cancelled() and call.done() and not call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    with pytest.raises(grpc.FutureCancelledError):
        call.exception()
    assert call.code() is StatusCode.CANCELLED
    servers.happened(service.cancelled)


def test_cancelling_between_attempts(servers, echo):
    service = servers.start()
    service.hook = failing(trailing=(("grpc-retry-pushback-ms", "4000"),))
    call = echo.Say.future(REQUEST)
    until(lambda: call._call.attempts)
    assert call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(LIMIT)
    assert len(service.seen) == 1


def test_cancelling_while_there_is_no_endpoint(echo):
    call = echo.Say.future(REQUEST, wait_for_ready=True)
    assert not call.done() and call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(LIMIT)


def test_waiting_for_a_result_has_its_own_limit(servers, echo):
    service = servers.start()
    call = echo.Say.future(SLOW)
    servers.happened(service.running)
    for wait in (call.result, call.exception, call.traceback):
        with pytest.raises(grpc.FutureTimeoutError):
            wait(0.01)
    assert not call.done()
    call.cancel()


@WAYS
def test_a_slow_attempt_is_cancelled_when_another_has_answered(servers, echo, channel, call):
    services = [servers.start() for _ in range(2)]
    connected(channel, 2)
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
    assert call(echo.Say, REQUEST, timeout=1.0).text == "hello"
    until(lambda: first == ["Say", "cancelled"])
    until(lambda: [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0, 0])


@WAYS
def test_an_attempt_that_merely_takes_long_wins(servers, echo, channel, call):
    """It goes on beside its successors, which are no faster."""
    services = [servers.start() for _ in range(2)]
    connected(channel, 2)
    request = pb.EchoRequest(text="late", delay=0.45)
    assert call(echo.Say, request, timeout=1.0).text == "late"
    assert sum(len(s.seen) for s in services) == 2
    until(lambda: [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0, 0])


@WAYS
def test_hedging(servers, echo, channel, call):
    services = [servers.start() for _ in range(2)]
    connected(channel, 2)
    stuck = []

    async def first_is_stuck(name, context):
        if not stuck:
            stuck.append(name)
            await asyncio.sleep(30)

    for service in services:
        service.hook = first_is_stuck
    began = time.monotonic()
    with seawall.options(hedge=0.05):
        assert call(echo.Say, REQUEST, timeout=10).text == "hello"
    assert time.monotonic() - began < 5
    until(lambda: [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0, 0])


@WAYS
def test_the_deadline_is_kept_and_told_to_the_server(servers, echo, call):
    servers.start()
    assert 1.0 < call(echo.Say, REQUEST, timeout=2.0).remaining < 2.0
    with pytest.raises(seawall.CallError) as caught:
        call(echo.Say, SLOW, timeout=0.2)
    assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


def test_without_a_timeout_there_is_a_default(servers, echo):
    servers.start()
    assert 4.0 < echo.Say(REQUEST).remaining < 5.0


def test_the_deadline_of_the_request_that_is_served_is_inherited(servers, echo):
    servers.start()
    token = inbound.set(Inbound(time.monotonic() + 1.0))
    try:
        assert 0.5 < echo.Say(REQUEST).remaining < 1.0
    finally:
        inbound.reset(token)


@WAYS
def test_no_time_is_refused_here(servers, echo, call):
    service = servers.start()
    with pytest.raises(seawall.DeadlinePassed) as caught:
        call(echo.Say, REQUEST, timeout=0)
    assert isinstance(caught.value, grpc.RpcError) and isinstance(caught.value, grpc.Call)
    assert service.seen == []


@WAYS
def test_nobody_serves_it(echo, call):
    with pytest.raises(seawall.NoEndpoints, match=r"nobody serves seawall\.tests\.Echo"):
        call(echo.Say, REQUEST)


@WAYS
def test_wait_for_ready_waits_for_the_first_instance(servers, echo, channel, call):
    caller = Caller(lambda: call(echo.Say, REQUEST, wait_for_ready=True))
    until(lambda: len(channel.discoveries[0].waiting))
    servers.start()
    assert caller.join().text == "hello"


def test_an_instance_that_stops_is_not_called_again(servers, echo, channel):
    first, second = servers.start(), servers.start()
    connected(channel, 2)
    servers.stop(first)
    until(lambda: len(channel.discoveries[0].group.endpoints) == 1)
    before = len(first.seen)
    for _ in range(10):
        assert echo.Say(REQUEST).instance == second.address
    assert len(first.seen) == before


def test_an_instance_that_stops_finishes_what_it_has(servers, echo, channel):
    service = servers.start()
    call = echo.Charge.future(pb.EchoRequest(text="x", delay=0.3))
    servers.happened(service.running)
    servers.stop(service)
    assert call.result(LIMIT).text == "x"


@WAYS
def test_fallbacks(servers, echo, call):
    servers.start().hook = failing()
    with seawall.options(fallback=pb.EchoReply(text="value")):
        assert call(echo.Charge, REQUEST).text == "value"
    with pytest.raises(seawall.CallError):
        call(echo.Charge, REQUEST)


def test_a_fallback_runs_on_the_callers_own_thread(servers, echo):
    servers.start().hook = failing()
    ran = []

    def answer(*_):
        ran.append(threading.current_thread())
        return pb.EchoReply(text="own")

    with seawall.options(fallback=answer):
        response, call = echo.Charge.with_call(REQUEST)
    assert response.text == "own" and ran == [threading.current_thread()]
    assert call.code() is StatusCode.OK and call.details() == ""
    assert tuple(call.trailing_metadata()) == () and tuple(call.initial_metadata()) == ()


def test_a_futures_fallback_runs_elsewhere_with_its_callers_options(servers, echo):
    """In the context of whoever made the call, so that it finds what it would find there."""
    servers.start().hook = failing()
    ran = []

    def answer(*_):
        ran.append(threading.current_thread().name)
        served = inbound.get()
        return pb.EchoReply(text="served" if served is not None and served.alone else "")

    token = inbound.set(Inbound(None, alone=True))
    try:
        with seawall.options(fallback=answer):
            call = echo.Charge.future(REQUEST)
    finally:
        inbound.reset(token)
    assert call.result(LIMIT).text == "served"
    assert ran[0].startswith("seawall-fallback")


@WAYS
def test_a_fallback_that_needs_an_event_loop_is_told(servers, echo, call):
    servers.start().hook = failing()

    async def answer(*_):
        return pb.EchoReply()

    with seawall.options(fallback=answer):
        with pytest.raises(seawall.CallError, match="no event loop"):
            call(echo.Charge, REQUEST)


@WAYS
def test_a_fallback_that_raises_changes_nothing(servers, echo, call):
    servers.start().hook = failing()

    def broken(*_):
        raise LookupError("no cache")

    with seawall.options(fallback=broken):
        with pytest.raises(seawall.CallError, match="no cache") as caught:
            call(echo.Charge, REQUEST)
    assert caught.value.code() is StatusCode.UNAVAILABLE


@WAYS
def test_a_fallback_after_a_share_of_the_deadline(servers, echo, channel, call):
    """The caller's thread is held by an attempt that is late when the fallback's turn comes."""
    for _ in range(2):
        servers.start()
    connected(channel, 2)
    with seawall.options(fallback=pb.EchoReply(text="own"), hedge=False):
        assert call(echo.Say, SLOW, timeout=0.3).text == "own"
    with seawall.options(fallback=lambda *_: pb.EchoReply(text="own")):
        assert call(echo.Say, SLOW, timeout=0.3).text == "own"


def test_a_message_of_the_wrong_type_fails_at_once(servers, echo):
    servers.start()
    with pytest.raises(TypeError):
        echo.Say(object())
    assert echo.Say(REQUEST).text == "hello"


def test_what_a_callback_raises_is_logged(servers, echo, caplog):
    servers.start()
    call = echo.Say.future(REQUEST)

    def broken(_):
        raise RuntimeError("boom")

    call.add_done_callback(broken)
    after = threading.Event()
    call.add_done_callback(lambda _: after.set())
    assert after.wait(LIMIT) and "boom" in caplog.text
    assert echo.Say(REQUEST).text == "hello"


def test_a_callback_may_call(servers, echo):
    servers.start()
    answers = []
    done = threading.Event()

    def again(ended):
        answers.append(echo.Say(REQUEST).text)
        done.set()

    echo.Say.future(REQUEST).add_done_callback(again)
    assert done.wait(LIMIT) and answers == ["hello"]


def test_nothing_is_left_behind(servers, echo, channel):
    servers.start()
    for call in [echo.Say.future(REQUEST) for _ in range(20)]:
        call.result(LIMIT)
    for _ in range(20):
        echo.Say(REQUEST)
    assert not channel.calls.active
    assert [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0]


def test_a_service_config_is_obeyed(servers, url):
    service = servers.start()
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
    with seawall.sync.connect(url, service_config=config) as channel:
        stub = pb_grpc.EchoStub(channel)
        with pytest.raises(seawall.CallError):
            stub.Charge(REQUEST)
        assert service.seen == ["Charge", "Charge"]
        service.hook = None
        with pytest.raises(seawall.CallError) as caught:
            stub.Say(SLOW, timeout=10)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


def test_what_grpc_refuses_to_start_ends_the_call(servers, echo, channel):
    servers.start()
    with pytest.raises(seawall.CallError, match="could not be started"):
        echo.Say(REQUEST, compression=object())
    with pytest.raises(seawall.CallError, match="could not be started"):
        echo.Say.future(REQUEST, compression=object()).result(LIMIT)
    assert channel.discoveries[0].group.endpoints[0].outstanding == 0


def test_a_timeout_that_is_no_number(servers, echo, channel):
    servers.start()
    with pytest.raises(ValueError, match="not a number"):
        echo.Say(REQUEST, timeout=float("nan"))
    assert echo.Say(REQUEST, timeout=float("inf")).text == "hello"
    assert not channel.calls.active


@WAYS
def test_another_method_as_fallback(servers, url, call):
    service = servers.start()

    async def charge_fails(name, context):
        if name == "Charge":
            await context.abort(StatusCode.UNAVAILABLE, "told to fail")

    service.hook = charge_fails
    entry = {
        "name": [{"service": "seawall.tests.Echo", "method": "Charge"}],
        "seawall": {"fallback": {"method": "/seawall.tests.Echo/Say"}},
    }
    with seawall.sync.connect(url, service_config={"methodConfig": [entry]}) as channel:
        assert call(pb_grpc.EchoStub(channel).Charge, REQUEST).text == "hello"
    assert service.seen == ["Charge", "Say"]


def test_a_bulkhead_lets_the_next_caller_in(servers, url):
    service = servers.start()
    held = servers.event()

    async def hold(name, context):
        await held.wait()

    service.hook = hold
    limits = {"bulkhead": {"maxConcurrent": 1, "maxQueue": 2}}
    config = {"methodConfig": [{"name": [{}], "seawall": limits}]}
    with seawall.sync.connect(url, service_config=config) as channel:
        stub = pb_grpc.EchoStub(channel)
        first = Caller(lambda: stub.Charge(REQUEST))
        servers.happened(service.running)
        blocked = Caller(lambda: stub.Charge(REQUEST))
        waiting = stub.Charge.future(REQUEST)
        until(lambda: sum(call._parked is not None for call in [*channel.calls.active]) == 2)
        with pytest.raises(seawall.CallError, match="bulkhead"):
            stub.Charge(REQUEST)
        servers.set(held)
        for answered in (first.join, blocked.join, lambda: waiting.result(LIMIT)):
            assert answered().text == "hello"
