"""How much a server says that it has to do."""

import asyncio
import json

import pytest
from grpc import aio

from seawall.call import LoadReport
from seawall.server.load.meter import Meter
from seawall.server.load.orca import IN_FLIGHT, KEY, LATENCY, orca_entry
from seawall.server.load.orca_pb2 import OrcaLoadReport
from seawall.testing.clock import FakeClock
from seawall.transport.load import ASK, OWN, own_entry, report_in
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

LOAD = LoadReport(3, 0.0125, 0.5, 120.0, 1.5)


def metered():
    clock, cpu = FakeClock(), FakeClock()
    return Meter(clock, cpu), clock, cpu


def test_what_is_under_way_is_counted():
    meter, _, _ = metered()
    began = [meter.begin() for _ in range(3)]
    meter.end(began[0])
    assert meter.report().in_flight == 2


def test_the_latency_is_the_median_of_recent_answers():
    meter, clock, _ = metered()
    for seconds in [0.01] * 31 + [5.0]:
        began = meter.begin()
        clock.now += seconds
        meter.end(began)
    assert meter.report().latency == pytest.approx(0.01)
    for _ in range(40):
        began = meter.begin()
        clock.now += 0.2
        meter.end(began)
    assert meter.report().latency == pytest.approx(0.2)


def test_rates_and_cpu_are_those_of_the_last_second():
    meter, clock, cpu = metered()
    for number in range(100):
        began = meter.begin()
        clock.now += 0.01001
        cpu.now += 0.005
        meter.end(began, failed=number % 10 == 0)
    report = meter.report()
    assert report.rate == pytest.approx(100, rel=0.01)
    assert report.errors == pytest.approx(10, rel=0.01)
    assert report.utilization == pytest.approx(0.5, rel=0.01)


def test_seawalls_clients_read_what_is_sent_and_so_does_orca():
    assert report_in([own_entry(LOAD)]) == LOAD
    key, value = orca_entry(LOAD)
    assert key == KEY
    orca = OrcaLoadReport.FromString(value)
    assert orca.named_metrics[IN_FLIGHT] == 3 and orca.named_metrics[LATENCY] == 0.0125
    assert (orca.cpu_utilization, orca.rps_fractional, orca.eps) == (0.5, 120.0, 1.5)


@pytest.mark.parametrize(
    "value",
    ["", "1", "1 2 3 4", "1 2 3 4 5 6", "a b c d e", "nan 0 0 0 0", "-1 0 0 0 0", "1e300 0 0 0 0",
     "inf 0 0 0 0", b"1 2 3 4 5", None, "1 " * 10_000],
)  # fmt: skip
def test_a_report_that_makes_no_sense_is_none(value):
    assert report_in([(OWN, value)]) is None


def test_who_asks_is_told_each_time_and_others_now_and_then():
    meter, clock, _ = metered()

    def told(**how):
        return [key for key, _ in meter.end(meter.begin(), **how)]

    assert [told(asked=True) for _ in range(3)] == [[OWN]] * 3
    assert [told() for _ in range(3)] == [[KEY], [], []]
    clock.now += 0.1
    assert told() == [KEY]


async def test_an_answer_carries_a_report_for_who_asks(start, registry):
    service = await start()
    async with aio.insecure_channel(service.address) as bare:
        stub = pb_grpc.EchoStub(bare)
        slow = stub.Say(pb.EchoRequest(text="slow", delay=30))
        await service.running.wait()
        call = stub.Say(pb.EchoRequest(text="hello"), metadata=ASK)
        await call
        assert report_in(await call.trailing_metadata()).in_flight == 1
        call = stub.Say(pb.EchoRequest(text="hello"))
        await call
        assert report_in(await call.trailing_metadata()) is None
        slow.cancel()
        async with asyncio.timeout(5):
            await service.cancelled.wait()
    assert service._server.meter.report().in_flight == 0


async def test_grpcs_own_weighted_round_robin_follows_the_reports(registry):
    """Its core reads KEY: the one with twice the utilization for its rate gets less."""
    async with EchoService(registry=registry) as idle, EchoService(registry=registry) as busy:
        for service, used in ((idle, 0.2), (busy, 0.8)):
            service._server.meter._rates = (used, 100.0, 0.0)
            service._server.meter._since = float("inf")
        policy = {"weighted_round_robin": {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}}
        options = [("grpc.service_config", json.dumps({"loadBalancingConfig": [policy]}))]
        target = f"ipv4:{idle.address},{busy.address}"
        async with aio.insecure_channel(target, options=options) as bare, asyncio.timeout(20):
            stub = pb_grpc.EchoStub(bare)
            while len(idle.seen) < 2 * len(busy.seen) or len(busy.seen) < 50:
                await stub.Say(pb.EchoRequest(text="hello"))
