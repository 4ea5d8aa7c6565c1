"""Typed errors over real gRPC: from every kind of handler to the callers that there are."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2 as rpc
from google.rpc.status_pb2 import Status
from grpc import StatusCode, aio
from grpc_status import rpc_status

import seawall
import seawall.sync
from seawall import Service
from tests.echo import EchoService, plain_server
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.server.test_service import Hop

REQUEST = pb.EchoRequest(text="hello", count=1)
WRONG = {"sku": "must not be empty"}
ARITIES = ["Say", "Count", "Join", "Chat"]


class Typed(EchoService):
    """Each of its handlers raises ``error``."""

    error: Exception = seawall.InvalidArgument("no such sku", field_violations=WRONG)

    async def enter(self, name, request, context):
        self.seen.append(name)
        context.set_trailing_metadata((("colour", "red"),))
        raise self.error


class Threaded(Service, pb_grpc.EchoServicer):
    """The same in ``def`` handlers."""

    def Say(self, request, context):
        context.set_trailing_metadata((("colour", "red"),))
        raise Typed.error

    def Count(self, request, context):
        self.Say(request, context)
        yield

    def Join(self, request_iterator, context):
        self.Say(None, context)

    def Chat(self, request_iterator, context):
        self.Say(None, context)
        yield


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(30):
        yield


@asynccontextmanager
async def calling(kind, registry):
    async with kind(registry=registry, settle=0.0) as service, seawall.connect(registry) as channel:
        yield service, pb_grpc.EchoStub(channel)


async def raised(stub, arity):
    """What a call of this kind raises."""
    with pytest.raises(grpc.RpcError) as caught:
        if arity == "Say":
            await stub.Say(REQUEST)
        elif arity == "Join":
            await stub.Join([])
        else:
            argument = [] if arity == "Chat" else REQUEST
            async for _ in getattr(stub, arity)(argument):
                pytest.fail("nothing was to come")
    return caught.value


def is_told(error):
    assert isinstance(error, seawall.InvalidArgument) and isinstance(error, seawall.CallError)
    assert error.code() is StatusCode.INVALID_ARGUMENT and error.details() == "no such sku"
    assert error.field_violations == (("sku", "must not be empty", ""),)
    assert dict(error.trailing_metadata())["colour"] == "red"
    assert "no such sku" in error.explain()


@pytest.mark.parametrize("arity", ARITIES)
@pytest.mark.parametrize("kind", [Typed, Threaded])
async def test_from_each_kind_of_handler_to_each_kind_of_call(registry, kind, arity, caplog):
    async with calling(kind, registry) as (_, stub):
        error = await raised(stub, arity)
    assert isinstance(error, aio.AioRpcError)
    is_told(error)
    assert not caplog.records or "Traceback" not in caplog.text


@pytest.mark.parametrize("arity", ARITIES)
async def test_to_sync_callers(tmp_path, arity):
    def call(stub):
        with pytest.raises(grpc.RpcError) as caught:
            if arity == "Say":
                stub.Say(REQUEST)
            elif arity == "Join":
                stub.Join(iter([]))
            else:
                list(getattr(stub, arity)(iter([]) if arity == "Chat" else REQUEST))
        return caught.value

    url = f"local://{tmp_path}"
    async with Typed(registry=url):
        with seawall.sync.connect(url) as channel:
            error = await asyncio.to_thread(call, pb_grpc.EchoStub(channel))
    assert isinstance(error, grpc.Call) and isinstance(error, grpc.Future)
    is_told(error)


async def test_grpcs_own_clients_read_it(start, registry):
    async with Typed(registry=registry) as service, aio.insecure_channel(service.address) as plain:
        error = await raised(pb_grpc.EchoStub(plain), "Say")
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.code == 3 and status.message == error.details() == "no such sku"
    wrong = rpc.BadRequest()
    assert status.details[0].Unpack(wrong) and wrong.field_violations[0].field == "sku"


class Rich(pb_grpc.EchoServicer):
    """As servers without seawall do it."""

    async def Say(self, request, context):
        status = Status(code=8, message="slow down")
        status.details.add().Pack(rpc.QuotaFailure(violations=[{"subject": "user:42"}]))
        made = rpc_status.to_status(status)
        await context.abort(made.code, made.details, made.trailing_metadata)


async def test_from_servers_of_another_make():
    async with plain_server(Rich()) as address, seawall.connect(f"static://{address}") as channel:
        error = await raised(pb_grpc.EchoStub(channel), "Say")
        assert isinstance(error, seawall.ResourceExhausted)
        assert [v.subject for v in error.violations] == ["user:42"]
        error = await raised(pb_grpc.EchoStub(channel), "Count")
        assert isinstance(error, seawall.Unimplemented) and error.reason == ""


async def test_an_error_of_any_size_arrives(registry, caplog):
    async with calling(Typed, registry) as (service, stub):
        for length in (4000, 5000, 5600, 6000, 9000, 100_000):
            message = "ü%" * min(length, 3000)
            body = pb.EchoReply(text="x" * length)
            service.error = seawall.InvalidArgument(message, body, field_violations=WRONG)
            error = await raised(stub, "Say")
            assert error.code() is StatusCode.INVALID_ARGUMENT, error
            assert error.details().startswith("ü%ü%") and error.field_violations[0].field == "sku"
    assert "seawall.tests.EchoReply of 100" in caplog.text


async def test_the_largest_error_arrives_whole(registry):
    async with calling(Typed, registry) as (service, stub):
        for length in range(5000, 5800, 10):
            service.error = seawall.NotFound("gone", pb.EchoReply(text="x" * length))
            error = await raised(stub, "Say")
            assert error.code() is StatusCode.NOT_FOUND
            if not error.unpack(pb.EchoReply):
                break
        assert 5100 < length < 5800


async def test_retry_after_is_waited_for_even_by_what_has_effects(registry):
    async with calling(Typed, registry) as (service, stub):
        service.error = seawall.Unavailable("not now")
        assert isinstance(await raised_by(stub.Charge(REQUEST)), seawall.Unavailable)
        assert service.seen == ["Charge"]
        service.error = seawall.Unavailable("not now", retry_after=0.05)
        began = asyncio.get_running_loop().time()
        error = await raised_by(stub.Charge(REQUEST))
        assert asyncio.get_running_loop().time() - began >= 0.1
        assert error.retry_after == 0.05 and service.seen == ["Charge"] * 4
        service.error = seawall.ResourceExhausted("not now", retry_after=3600)
        assert "asked to wait 3600 s" in (await raised_by(stub.Charge(REQUEST))).explain()


async def raised_by(call):
    with pytest.raises(seawall.CallError) as caught:
        await call
    return caught.value


class Translating(Hop):
    """Says in its own words what its dependency has said."""

    async def Forward(self, request, context):
        try:
            return await super().Forward(request, context)
        except seawall.InvalidArgument as error:
            wrong = error.field_violations
            raise seawall.FailedPrecondition("so", field_violations=wrong) from error


async def test_a_dependencys_error_leaves_only_in_the_services_own_words(registry):
    for kind, expected in ((Hop, seawall.Internal), (Translating, seawall.FailedPrecondition)):
        async with Typed(registry=registry), kind(registry=registry):
            async with seawall.connect(registry) as channel:
                error = await raised_by(pb_grpc.RelayStub(channel).Forward(REQUEST))
        assert isinstance(error, expected) and "no such sku" not in error.details()
        assert bool(error.field_violations) == (kind is Translating)


async def test_a_refusal_is_caught_as_unavailable(registry):
    async with seawall.connect(registry) as channel:
        error = await raised_by(pb_grpc.EchoStub(channel).Say(REQUEST))
    assert isinstance(error, seawall.NoEndpoints) and isinstance(error, seawall.Unavailable)


async def test_an_error_after_messages_ends_the_stream(registry):
    class Late(EchoService):
        async def Count(self, request, context):
            yield pb.EchoReply(text="one")
            raise seawall.OutOfRange("no more", resource=("page", "2"))

    async with calling(Late, registry) as (_, stub):
        call = stub.Count(REQUEST)
        assert (await call.read()).text == "one"
        with pytest.raises(seawall.OutOfRange) as caught:
            await call.read()
        assert caught.value.resource == ("page", "2", "", "")
        assert await call.code() is StatusCode.OUT_OF_RANGE
