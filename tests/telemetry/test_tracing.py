"""Spans of real calls, through the SDK's own pipeline, and through any other tracer."""

import pytest
from grpc import StatusCode
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind

import seawall
from seawall.telemetry import names
from seawall.telemetry import spans as spans_module
from seawall.telemetry.light import LightSpans
from seawall.telemetry.spans import Spans
from tests.echo import EchoService, failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.server.test_service import Hop

REQUEST = pb.EchoRequest(text="x")
SAY = "seawall.tests.Echo/Say"


class Traced:
    """A tracer provider of this test's own, and what it has exported."""

    def __init__(self, sampler=None):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("seawall")

    def named(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name, kind=None):
        found = [s for s in self.named(name) if kind is None or s.kind is kind]
        assert len(found) == 1, [s.name for s in self.exporter.get_finished_spans()]
        return found[0]


@pytest.fixture(params=[LightSpans, Spans], ids=["light", "by the API"])
def kind_of_spans(request):
    return request.param


@pytest.fixture
def install(monkeypatch, kind_of_spans):
    """Traces everything that is made from now on, with the given sampler."""

    def begin(sampler=None):
        traced = Traced(sampler)
        made = kind_of_spans(traced.tracer)
        monkeypatch.setattr("seawall.assembly.spans", lambda: made)
        monkeypatch.setattr("seawall.server.lifecycle.spans", lambda: made)
        return traced

    return begin


@pytest.fixture
def traced(install):
    return install()


async def test_a_call_an_attempt_and_the_server(traced, registry):
    async with EchoService(registry=registry) as service, seawall.connect(registry) as channel:
        await pb_grpc.EchoStub(channel).Say(REQUEST)
    call = traced.one(SAY, SpanKind.CLIENT)
    attempt = traced.one(names.ATTEMPT_PREFIX + SAY)
    server = traced.one(SAY, SpanKind.SERVER)
    assert call.parent is None
    assert attempt.parent.span_id == call.context.span_id
    assert server.parent.span_id == attempt.context.span_id
    assert len({s.context.trace_id for s in (call, attempt, server)}) == 1
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": SAY,
        "server.address": "seawall.tests.Echo",
        "rpc.response.status_code": "OK",
    }
    assert attempt.attributes["seawall.attempt"] == 1
    assert attempt.attributes["seawall.endpoint"] == service.address
    assert server.attributes["rpc.response.status_code"] == "OK"
    assert call.start_time <= attempt.start_time <= server.start_time
    assert server.end_time <= call.end_time


async def test_hops_are_one_trace(traced, registry):
    async with (
        EchoService(registry=registry),
        Hop(registry=registry),
        seawall.connect(registry) as channel,
    ):
        with traced.tracer.start_as_current_span("user") as user:
            await pb_grpc.RelayStub(channel).Forward(REQUEST)
    spans = traced.exporter.get_finished_spans()
    assert len(spans) == 7
    assert {s.context.trace_id for s in spans} == {user.get_span_context().trace_id}
    hop = traced.one("seawall.tests.Relay/Forward", SpanKind.SERVER)
    inner = traced.one(SAY, SpanKind.CLIENT)
    assert inner.parent.span_id == hop.context.span_id


async def test_each_attempt_has_a_span(traced, registry, start):
    for _ in range(2):
        (await start()).hook = failing(times=1)
    async with seawall.connect(registry) as channel:
        await pb_grpc.EchoStub(channel).Say(REQUEST)
    attempts = traced.named(names.ATTEMPT_PREFIX + SAY)
    assert [a.attributes["seawall.attempt"] for a in attempts] == [1, 2, 3]
    codes = [a.attributes["rpc.response.status_code"] for a in attempts]
    assert codes == ["UNAVAILABLE", "UNAVAILABLE", "OK"]
    assert attempts[0].attributes["error.type"] == "UNAVAILABLE"
    assert not attempts[0].status.is_ok and attempts[2].status.is_unset
    assert traced.one(SAY, SpanKind.CLIENT).status.is_unset


async def test_an_error_of_the_caller_is_one_for_the_client_and_none_for_the_server(
    traced, registry, start
):
    (await start()).hook = failing(StatusCode.NOT_FOUND)
    async with seawall.connect(registry) as channel:
        with pytest.raises(seawall.CallError):
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    client, server = traced.one(SAY, SpanKind.CLIENT), traced.one(SAY, SpanKind.SERVER)
    assert client.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert client.status.status_code is trace.StatusCode.ERROR
    assert server.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert server.status.is_unset


async def test_an_exception_is_an_error_of_the_server(traced, registry, start):
    async def hook(name, context):
        raise LookupError("hunter2")

    (await start()).hook = hook
    async with seawall.connect(registry) as channel:
        with pytest.raises(seawall.CallError):
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    server = traced.one(SAY, SpanKind.SERVER)
    assert server.attributes["rpc.response.status_code"] == "INTERNAL"
    assert server.attributes["error.type"] == "LookupError"
    assert server.status.status_code is trace.StatusCode.ERROR


async def test_a_cancelled_call_ends_its_spans(traced, registry, start):
    service = await start()
    async with seawall.connect(registry) as channel:
        call = pb_grpc.EchoStub(channel).Say(pb.EchoRequest(delay=30))
        await service.running.wait()
        call.cancel()
        await service.cancelled.wait()
    for name in (SAY, names.ATTEMPT_PREFIX + SAY):
        assert traced.one(name, SpanKind.CLIENT).attributes["error.type"] == "CANCELLED"


async def test_a_streams_spans_end_with_the_stream(traced, registry, start):
    await start()
    async with seawall.connect(registry) as channel:
        call = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=2))
        await call.read()
        ended = traced.named("seawall.tests.Echo/Count")
        assert not [span for span in ended if span.kind is SpanKind.CLIENT]
        assert [m async for m in call]
    assert len(traced.named("seawall.tests.Echo/Count")) == 2
    assert len(traced.named("Attempt.seawall.tests.Echo/Count")) == 1


async def test_a_refusal_has_a_span_and_no_attempt(traced, registry):
    async with seawall.connect(registry) as channel:
        with pytest.raises(seawall.NoEndpoints):
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    assert traced.one(SAY).attributes["error.type"] == "UNAVAILABLE"
    assert not traced.named(names.ATTEMPT_PREFIX + SAY)


async def test_a_fallback_is_marked(traced, registry):
    async with seawall.connect(registry) as channel:
        with seawall.options(fallback=pb.EchoReply()):
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    assert traced.one(SAY).attributes["seawall.fallback"] == "value"


@pytest.mark.parametrize(
    "sampler", [ParentBased(TraceIdRatioBased(0.0)), TraceIdRatioBased(0.0), ALWAYS_OFF]
)
async def test_what_is_not_sampled_here_is_not_sampled_below(install, sampler, registry):
    traced = install(sampler)
    seen = {}

    async def hook(name, context):
        seen.update(context.invocation_metadata())

    async with EchoService(registry=registry) as service, seawall.connect(registry) as channel:
        service.hook = hook
        for _ in range(3):
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    version, trace_id, span_id, flags = seen["traceparent"].split("-")
    assert version == "00" and int(flags, 16) & 1 == 0
    assert len(trace_id) == 32 and len(span_id) == 16 and int(trace_id, 16) and int(span_id, 16)
    assert traced.exporter.get_finished_spans() == ()


async def test_a_ratio_samples_its_share(install, registry):
    traced = install(ParentBased(TraceIdRatioBased(0.25)))
    async with EchoService(registry=registry), seawall.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        for _ in range(400):
            await stub.Say(REQUEST)
    calls = [s for s in traced.named(SAY) if s.kind is SpanKind.CLIENT]
    assert 50 < len(calls) < 160  # 100 expected; the bounds are five standard deviations away
    assert len(traced.exporter.get_finished_spans()) == 3 * len(calls)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_no_two_traces_have_the_same_id(kind_of_spans, ratio):
    made = kind_of_spans(TracerProvider(sampler=TraceIdRatioBased(ratio)).get_tracer("t"))
    ids = set()
    for _ in range(200):
        span, headers = made.begin("a", SpanKind.CLIENT, {}, context.Context())
        assert (span is None) == (headers != ())
        ids.add(headers[0][1].split("-")[1] if span is None else span.get_span_context().trace_id)
    assert len(ids) == 200


async def test_a_sampled_parent_is_followed(install, registry):
    traced = install(ParentBased(TraceIdRatioBased(0.0)))
    always = TracerProvider().get_tracer("user")
    async with EchoService(registry=registry), seawall.connect(registry) as channel:
        with always.start_as_current_span("user") as user:
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    assert traced.one(SAY, SpanKind.CLIENT).parent.span_id == user.get_span_context().span_id


async def test_baggage_travels_too(traced, registry, start):
    service = await start()
    seen = {}

    async def hook(name, context):
        seen["baggage"] = baggage.get_baggage("user")

    service.hook = hook
    async with seawall.connect(registry) as channel:
        token = context.attach(baggage.set_baggage("user", "42"))
        try:
            await pb_grpc.EchoStub(channel).Say(REQUEST)
        finally:
            context.detach(token)
    assert seen["baggage"] == "42"


async def test_hostile_trace_headers_do_no_harm(traced, registry, start):
    await start()
    async with seawall.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        for value in ("", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-" + "1" * 52):
            assert (await stub.Charge(REQUEST, metadata=(("traceparent", value),))).text == "x"


async def test_spans_on_start_hooks_run(kind_of_spans):
    started = []

    class Hook(SimpleSpanProcessor):
        def on_start(self, span, parent_context=None):
            span.set_attribute("added", 1)
            started.append(span)

    provider = TracerProvider()
    exporter = InMemorySpanExporter()
    provider.add_span_processor(Hook(exporter))
    made = kind_of_spans(provider.get_tracer("seawall"))
    span, _ = made.start("a", SpanKind.CLIENT, {"b": 1}, context.Context())
    child = made.start_child("c", SpanKind.CLIENT, {}, span)
    child.add_event("happened", {"k": "v"})
    child.record_exception(ValueError("x"))
    child.update_name("d")
    child.add_link(span.get_span_context(), {"why": "test"})
    child.set_attributes({"e": 2})
    child.end()
    child.end()
    span.end()
    done = exporter.get_finished_spans()
    assert [s.name for s in done] == ["d", "a"] and len(started) == 2
    assert done[0].attributes == {"added": 1, "e": 2}
    assert [link.attributes for link in done[0].links] == [{"why": "test"}]
    assert [event.name for event in done[0].events] == ["happened", "exception"]
    assert all(s.to_json() for s in done)
    assert done[0].instrumentation_scope.name == "seawall"
    assert done[0].resource == provider.resource


def test_without_an_sdk_there_is_nothing(monkeypatch):
    monkeypatch.setattr(spans_module.trace, "get_tracer_provider", trace.ProxyTracerProvider)
    assert spans_module.spans() is None


def test_the_sdks_tracer_gets_light_spans(monkeypatch):
    monkeypatch.setattr(spans_module.trace, "get_tracer_provider", TracerProvider)
    monkeypatch.setattr(
        spans_module.trace, "get_tracer", lambda name: TracerProvider().get_tracer(name)
    )
    assert type(spans_module.spans()) is LightSpans


async def test_plain_functions_have_spans_too(traced, registry):
    inside = []

    class Sync(seawall.Service, pb_grpc.EchoServicer):
        def Say(self, request, context):
            inside.append(trace.get_current_span().get_span_context().trace_id)
            context.set_code(StatusCode.NOT_FOUND)
            return pb.EchoReply()

        def Charge(self, request, context):
            context.abort(StatusCode.INTERNAL, "no")

        def Count(self, request, context):
            inside.append(trace.get_current_span().get_span_context().trace_id)
            yield pb.EchoReply()

    async with Sync(registry=registry, settle=0.0), seawall.connect(registry) as channel:
        stub = pb_grpc.EchoStub(channel)
        for call in (stub.Say(REQUEST), stub.Charge(REQUEST)):
            with pytest.raises(seawall.CallError):
                await call
        assert [m async for m in stub.Count(REQUEST)]
    said, charged, counted = (
        traced.one(f"seawall.tests.Echo/{name}", SpanKind.SERVER)
        for name in ("Say", "Charge", "Count")
    )
    assert said.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert charged.attributes["rpc.response.status_code"] == "INTERNAL"
    assert counted.attributes["rpc.response.status_code"] == "OK"
    assert inside == [said.context.trace_id, counted.context.trace_id]


async def test_a_sampler_that_raises_is_nobodys_trouble(install, registry, caplog):
    class Broken(TraceIdRatioBased):
        def should_sample(self, *args, **named):
            raise ValueError("secret")

    install(Broken(0.5))
    async with EchoService(registry=registry), seawall.connect(registry) as channel:
        assert (await pb_grpc.EchoStub(channel).Say(REQUEST)).text == "x"
    assert "is not traced" in caplog.text


def test_a_sampler_of_ones_own_is_asked(kind_of_spans):
    asked = []

    class Own(TraceIdRatioBased):
        def should_sample(self, *args, **named):
            asked.append(args)
            return super().should_sample(*args, **named)

    for sampler in (Own(0.0), ParentBased(Own(0.0))):
        made = kind_of_spans(TracerProvider(sampler=sampler).get_tracer("t"))
        assert made.begin("a", SpanKind.CLIENT, {}, context.Context())[0] is None
    assert len(asked) == 2


def test_what_comes_after_the_end_is_ignored():
    made = LightSpans(TracerProvider().get_tracer("t"))
    span, _ = made.start("a", SpanKind.CLIENT, {}, context.Context())
    span.end()
    span.set_attribute("late", 1)
    span.set_attributes({"late": 1})
    span.set_status(trace.StatusCode.ERROR)
    span.update_name("late")
    span.add_event("late")
    assert dict(span.attributes) == {} and span.name == "a" and span.events == ()
    assert span.status.is_unset and not span.is_recording()
