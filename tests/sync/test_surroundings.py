"""Sync calls inside ``def`` handlers, with spans, and under a config that is replaced."""

import json
import time

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import seawall
import seawall.sync
from seawall import Service
from seawall.telemetry.light import LightSpans
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import connected, until

REQUEST = pb.EchoRequest(text="hello")


class Relay(Service, pb_grpc.RelayServicer):
    """Passes calls on by a sync stub, in gRPC's pool of threads."""

    def __init__(self, stub, **settings):
        super().__init__(**{"settle": 0.0, **settings})
        self._stub = stub

    def Forward(self, request, context):
        return self._stub.Say(request)


def test_a_handler_hands_on_its_callers_deadline(servers, echo, url):
    servers.start()
    relay = Relay(echo, registry=url)
    servers.run(relay.start())
    try:
        with seawall.sync.connect(url) as channel:
            stub = pb_grpc.RelayStub(channel)
            assert 1.0 < stub.Forward(REQUEST, timeout=2.0).remaining < 2.0
            began = time.monotonic()
            with pytest.raises(grpc.RpcError):
                stub.Forward(pb.EchoRequest(text="slow", delay=30), timeout=0.3)
            assert time.monotonic() - began < 5
    finally:
        servers.run(relay.stop())


@pytest.fixture
def exporter(monkeypatch):
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    made = LightSpans(provider.get_tracer("seawall"))
    monkeypatch.setattr("seawall.assembly.spans", lambda: made)
    return exported


@pytest.mark.parametrize("way", ["blocking", "future"])
def test_a_call_and_each_attempt_have_a_span(servers, url, exporter, way):
    for _ in range(2):
        servers.start().hook = failing(times=1)
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 2)
        if way == "blocking":
            stub.Say(REQUEST)
        else:
            stub.Say.future(REQUEST).result()
        until(lambda: len(exporter.get_finished_spans()) == 4)
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    call = next(s for s in spans.values() if s.parent is None)
    attempts = [s for s in spans.values() if s.parent is not None]
    assert call.kind is trace.SpanKind.CLIENT and len(attempts) == 3
    assert {s.parent.span_id for s in attempts} == {call.context.span_id}
    codes = [s.status.status_code for s in sorted(attempts, key=lambda s: s.start_time)]
    assert codes == [trace.StatusCode.ERROR, trace.StatusCode.ERROR, trace.StatusCode.UNSET]


def test_a_stream_has_a_span_until_its_end(servers, url, exporter):
    servers.start()
    with seawall.sync.connect(url) as channel:
        call = pb_grpc.EchoStub(channel).Count(pb.EchoRequest(count=2))
        assert next(call).text == "0"
        assert exporter.get_finished_spans() == ()
        assert [r.text for r in call] == ["1"]
        until(lambda: len(exporter.get_finished_spans()) == 2)


def test_a_config_file_that_is_replaced_holds_for_the_next_calls(
    servers, url, tmp_path, monkeypatch
):
    monkeypatch.setattr("seawall.live_config.LOOK_EVERY", 0.02)
    path = tmp_path / "service_config.json"

    def put(timeout):
        entry = {"name": [{"service": "seawall.tests.Echo"}], "timeout": timeout}
        path.write_text(json.dumps({"methodConfig": [entry]}))

    put("9s")
    servers.start()
    with seawall.sync.connect(url, service_config=path) as channel:
        stub = pb_grpc.EchoStub(channel)
        assert 8 < stub.Say(REQUEST).remaining < 9
        put("3s")
        until(lambda: stub.Say(REQUEST).remaining < 3)
