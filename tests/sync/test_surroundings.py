"""Sync calls inside ``def`` handlers, with spans, and under a config that is replaced."""

import asyncio
import json
import threading
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
from seawall.config import load_service_config
from seawall.telemetry.light import LightSpans
from tests.echo import failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, connected, until

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


def test_config_that_is_replaced_again_and_again_while_calls_run(servers, url):
    """Bulkheads, budgets, balancers and subsets come and go under calls of every kind."""
    for _ in range(3):
        servers.start()
    stop = threading.Event()
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 3)

        def work():
            made = 0
            while not stop.is_set():
                assert stub.Say(REQUEST).text == "hello"
                assert stub.Charge.future(REQUEST).result(LIMIT).text == "hello"
                assert [r.text for r in stub.Count(pb.EchoRequest(count=2))] == ["0", "1"]
                assert stub.Join(iter([REQUEST])).text == "hello"
                made += 1
            return made

        callers = [Caller(work) for _ in range(6)]
        calls = channel.calls
        for number in range(60):
            config = load_service_config(CONFIGS[number % len(CONFIGS)])
            adopted = threading.Event()
            calls.background.do(calls.router.adopt, config)
            calls.background.do(adopted.set)
            assert adopted.wait(LIMIT)
        stop.set()
        assert all(caller.join() for caller in callers)
        assert [e.outstanding for e in channel.discoveries[0].group.endpoints] == [0, 0, 0]
        assert not calls.active and not calls.streams


CONFIGS = [
    {},
    {"methodConfig": [{"name": [{}], "seawall": {"bulkhead": {"maxConcurrent": 9}}}]},
    {"loadBalancingConfig": [{"round_robin": {}}]},
    {"methodConfig": [{"name": [{}], "seawall": {"staleIfError": {"maxAge": "1s"}}}]},
]


@pytest.mark.parametrize("way", ["blocking", "future"])
def test_a_hedge_that_lost_is_no_fault_although_the_answer_is_kept(servers, url, way):
    """It has lost, and is not outrun: its instance has answered others meanwhile."""
    services = [servers.start() for _ in range(2)]
    stuck = []

    async def first_is_stuck(name, context):
        if name == "Say" and not stuck:
            stuck.append(context)
            await asyncio.sleep(30)

    for service in services:
        service.hook = first_is_stuck
    in_turn = {"loadBalancingConfig": [{"round_robin": {}}], **CONFIGS[3]}
    with seawall.sync.connect(url, service_config=in_turn) as channel:
        stub = pb_grpc.EchoStub(channel)
        connected(channel, 2)

        def call():
            with seawall.options(hedge=0.5):
                return stub.Say(REQUEST) if way == "blocking" else stub.Say.future(REQUEST).result()

        caller = Caller(call)
        until(lambda: stuck)
        (busy,) = [e for e in channel.discoveries[0].group.endpoints if e.outstanding]
        before = busy.answered
        while busy.answered == before:
            stub.Charge(REQUEST)
        assert caller.join().text == "hello"
        until(lambda: not busy.outstanding)
        assert busy.breaker.failures == 0
