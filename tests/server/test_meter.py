"""How much a server says that it has to do."""

import asyncio

import pytest

from seawall.call import LoadReport
from seawall.server.meter import Meter
from seawall.testing.clock import FakeClock
from seawall.transport.load import IN_FLIGHT, LATENCY, ORCA, OWN, entries_of, report_in
from seawall.transport.orca_pb2 import OrcaLoadReport
from tests.protos import echo_pb2 as pb

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
    sent = dict(entries_of(LOAD))
    assert report_in(list(sent.items())) == LOAD
    orca = OrcaLoadReport.FromString(sent[ORCA])
    assert orca.named_metrics[IN_FLIGHT] == 3 and orca.named_metrics[LATENCY] == 0.0125
    assert (orca.cpu_utilization, orca.rps_fractional, orca.eps) == (0.5, 120.0, 1.5)


@pytest.mark.parametrize(
    "value",
    ["", "1", "1 2 3 4", "1 2 3 4 5 6", "a b c d e", "nan 0 0 0 0", "-1 0 0 0 0", "1e300 0 0 0 0",
     "inf 0 0 0 0", b"1 2 3 4 5", None, "1 " * 10_000],
)  # fmt: skip
def test_a_report_that_makes_no_sense_is_none(value):
    assert report_in([(OWN, value)]) is None


async def test_every_answer_carries_a_report(start, echo):
    service = await start()
    slow = asyncio.ensure_future(echo.Say(pb.EchoRequest(text="slow", delay=30)))
    await service.running.wait()
    call = echo.Say(pb.EchoRequest(text="hello"))
    await call
    assert report_in(await call.trailing_metadata()).in_flight == 1
    slow.cancel()
    async with asyncio.timeout(5):
        await service.cancelled.wait()
    assert service._server.meter.report().in_flight == 0
