"""What a server tells of itself: over the endpoint, and in the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

import seawall
from seawall import ConfigError, ServiceError
from seawall.server.settings import Settings
from seawall.telemetry import catalogue
from seawall.telemetry.endpoint import Endpoint, serve_metrics
from seawall.telemetry.store import Metrics
from tests.echo import EchoService, failing
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.telemetry.measured import measured, series

__all__ = ["measured"]

ADDRESS = "127.0.0.1:0"
REQUEST = pb.EchoRequest(text="hello")
SAY, COUNT = "seawall.tests.Echo/Say", "seawall.tests.Echo/Count"
SEAWALL = Path(sys.executable).with_name("seawall")
LIMIT = 20.0


@pytest.fixture
def endpoint(measured) -> Iterator[Endpoint]:
    """At the address that the services of a test are given as well."""
    served = serve_metrics(ADDRESS)
    yield served
    served.close()


async def fetched(endpoint: Endpoint) -> list[str]:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://{endpoint.address}/metrics", timeout=LIMIT) as answer:
            return answer.read().decode()

    return (await asyncio.to_thread(fetch)).splitlines()


class Threads(EchoService):
    """Answers by functions that gRPC runs in threads."""

    def Say(self, request, context):
        if request.text == "abort":
            context.abort(StatusCode.NOT_FOUND, "none")
        if request.text == "raise":
            raise ValueError("no")
        return pb.EchoReply(text=request.text)

    def Count(self, request, context):
        for number in range(request.count):
            yield pb.EchoReply(text=str(number))


async def test_how_a_server_is(endpoint, start, echo):
    service = await start(metrics_address=ADDRESS, version="2.1")
    release = asyncio.Event()

    async def hold(name, context):
        await release.wait()

    service.hook = hold
    call = echo.Say(REQUEST)
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
    lines = await fetched(endpoint)
    assert "seawall_server_in_flight 1" in lines
    assert "seawall_server_announced 1" in lines
    assert 'seawall_server_serving{seawall_service=""} 1' in lines
    assert 'seawall_server_serving{seawall_service="seawall.tests.Echo"} 1' in lines
    assert "seawall_server_queue_length 0" in lines
    (target,) = (line for line in lines if line.startswith("target_info{"))
    assert 'service_name="echoservice"' in target and 'service_version="2.1"' in target
    assert f'service_instance_id="{service.server._announcement.instances[0].id}"' in target
    release.set()
    await call
    await service.pause()
    assert 'seawall_server_serving{seawall_service="seawall.tests.Echo"} 0' in await fetched(
        endpoint
    )


async def test_a_server_that_has_stopped_is_measured_no_more(measured, registry):
    async with EchoService(registry=registry, metrics_address=ADDRESS):
        assert series(measured, catalogue.ANNOUNCED) == {(): True}
    assert series(measured, catalogue.ANNOUNCED) == {}


async def test_the_endpoint_ends_with_the_last_server(measured, registry):
    service = EchoService(registry=registry, metrics_address=ADDRESS)
    other = EchoService(registry=registry + "2", metrics_address=ADDRESS)
    async with service:
        async with other:
            endpoint = serve_metrics(ADDRESS)
            endpoint.close()
        assert await fetched(endpoint)
    with pytest.raises(OSError):
        await fetched(endpoint)


async def test_calls(measured, start, echo):
    service = await start()
    await echo.Say(REQUEST)
    service.hook = failing(StatusCode.NOT_FOUND)
    with pytest.raises(grpc.RpcError):
        await echo.Say(REQUEST)

    async def raises(name, context):
        raise ValueError("no")

    service.hook = raises
    with pytest.raises(grpc.RpcError):
        await echo.Say(REQUEST)
    started = series(measured, catalogue.SERVER_STARTED)
    assert started.pop((SAY,)) == 3 and set(started.values()) == {0}  # there from the begin
    assert series(measured, catalogue.SERVER_DURATION) == {
        (SAY, "OK"): 1,
        (SAY, "NOT_FOUND"): 1,
        (SAY, "INTERNAL"): 1,
    }


async def test_a_code_that_is_set_without_raising(measured, start, echo):
    async def sets(name, context):
        context.set_code(StatusCode.FAILED_PRECONDITION)

    (await start()).hook = sets
    with pytest.raises(grpc.RpcError):
        await echo.Say(REQUEST)
    assert series(measured, catalogue.SERVER_DURATION) == {(SAY, "FAILED_PRECONDITION"): 1}


async def ended(measured: Metrics, calls: int = 1) -> dict[tuple[str, ...], int]:
    """What there is once so many calls have ended on the server, which may be after the client."""
    async with asyncio.timeout(LIMIT):
        while sum((found := series(measured, catalogue.SERVER_DURATION)).values()) < calls:
            await asyncio.sleep(0)
    return found


async def test_a_call_that_is_given_up(measured, start, echo):
    service = await start()
    call = echo.Say(pb.EchoRequest(text="x", delay=LIMIT))
    async with asyncio.timeout(LIMIT):
        await service.running.wait()
    call.cancel()
    assert await ended(measured) == {(SAY, "CANCELLED"): 1}


async def test_streams(measured, start, echo):
    service = await start()
    assert len([reply async for reply in echo.Count(pb.EchoRequest(count=3))]) == 3
    assert await ended(measured) == {(COUNT, "OK"): 1}
    call = echo.Count(pb.EchoRequest(count=1, delay=LIMIT))
    await call.read()
    call.cancel()
    async with asyncio.timeout(LIMIT):
        await service.cancelled.wait()
    assert await ended(measured, 2) == {(COUNT, "OK"): 1, (COUNT, "CANCELLED"): 1}


async def test_handlers_in_threads(measured, registry, echo):
    async with Threads(registry=registry):
        await echo.Say(REQUEST)
        assert len([reply async for reply in echo.Count(pb.EchoRequest(count=3))]) == 3
        for text in ("abort", "raise"):
            with pytest.raises(grpc.RpcError):
                await echo.Say(pb.EchoRequest(text=text))
        assert await ended(measured, 4) == {
            (SAY, "OK"): 1,
            (COUNT, "OK"): 1,
            (SAY, "NOT_FOUND"): 1,
            (SAY, "INTERNAL"): 1,
        }
        started = series(measured, catalogue.SERVER_STARTED)
        assert (started[SAY,], started[COUNT,]) == (3, 1)


async def test_who_waits_and_who_is_turned_away(measured, start, echo):
    service = await start(max_concurrency=1)
    release = asyncio.Event()

    async def hold(name, context):
        await release.wait()

    service.hook = hold
    calls = [echo.Say(REQUEST, timeout=LIMIT) for _ in range(2)]
    async with asyncio.timeout(LIMIT):
        while series(measured, catalogue.QUEUE_LENGTH) != {(): 1}:
            await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*calls)
        assert series(measured, catalogue.QUEUE_WAIT) == {("critical",): 1}
    service.server.admission.refused["sheddable", "overload"] += 3
    assert series(measured, catalogue.REJECTIONS) == {("sheddable", "overload"): 3}


async def test_the_access_log(start, echo, caplog):
    await start(access_log="on")
    with caplog.at_level(logging.INFO, "seawall.access"):
        await echo.Say(REQUEST, timeout=LIMIT)
    (record,) = (one for one in caplog.records if one.name == "seawall.access")
    assert (record.method, record.code, record.levelname) == (SAY, "OK", "INFO")
    assert record.peer.startswith(("unix:", "ipv4:127.0.0.1:"))
    assert 0 < record.deadline_left < LIMIT and 0 < record.duration < LIMIT
    assert not hasattr(record, "attempt")


async def test_the_access_log_of_what_goes_wrong(registry, echo, caplog):
    def found():
        return [one for one in caplog.records if one.name == "seawall.access"]

    with caplog.at_level(logging.INFO, "seawall.access"):
        async with Threads(registry=registry, access_log="errors"), asyncio.timeout(LIMIT):
            await echo.Say(REQUEST)
            for text in ("abort", "raise"):
                with pytest.raises(grpc.RpcError):
                    await echo.Say(pb.EchoRequest(text=text))
            while not found():  # a thread is told to abort, and then ends
                await asyncio.sleep(0)
    assert [(one.code, one.levelname) for one in found()] == [("INTERNAL", "WARNING")]


async def test_the_number_of_an_attempt_is_logged(registry, caplog):
    one = EchoService(registry=registry, access_log="on")
    one.hook = failing(times=1)
    with caplog.at_level(logging.INFO, "seawall.access"):
        async with one, seawall.connect(registry) as channel:
            await pb_grpc.EchoStub(channel).Say(REQUEST)
    found = [record for record in caplog.records if record.name == "seawall.access"]
    assert [(one.code, getattr(one, "attempt", 1)) for one in found] == [
        ("UNAVAILABLE", 1),
        ("OK", 2),
    ]


async def test_an_address_that_is_taken(registry, endpoint):
    with pytest.raises(ServiceError, match="can't serve metrics on"):
        await EchoService(registry=registry, metrics_address=endpoint.address).start()


@pytest.mark.parametrize(
    ("settings", "environment", "complaint"),
    [
        ({"metrics_address": "9464"}, {}, "metrics_address: must be host:port"),
        ({}, {"SEAWALL_METRICS": "x:y"}, "metrics_address: must be host:port"),
        ({"access_log": "maybe"}, {}, "access_log: must be on, errors or off"),
        ({}, {"SEAWALL_ACCESS_LOG": "1"}, "SEAWALL_ACCESS_LOG: must be on, errors or off"),
    ],
)
def test_settings_that_make_no_sense(settings, environment, complaint, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=complaint):
        Settings(**settings).resolved()


def test_settings_of_the_environment(monkeypatch):
    monkeypatch.setenv("SEAWALL_METRICS", ":9464")
    monkeypatch.setenv("SEAWALL_ACCESS_LOG", "Errors")
    found = Settings().resolved()
    assert (found.metrics_address, found.access_log) == (":9464", "errors")
    assert Settings(access_log="off").resolved().access_log == "off"


async def test_a_process_with_everything_on(tmp_path):
    """``seawall run`` by the environment alone: JSON on stderr, metrics over HTTP."""
    environment = {
        **os.environ,
        "SEAWALL_METRICS": ADDRESS,
        "SEAWALL_LOG_FORMAT": "json",
        "SEAWALL_ACCESS_LOG": "on",
    }
    running = await asyncio.create_subprocess_exec(
        SEAWALL, "run", "tests.echo:EchoService", "--registry", f"local://{tmp_path}",
        env=environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    told: list[dict] = []

    async def until(word: str) -> dict:
        while not told or word not in told[-1]["message"]:
            line = await running.stderr.readline()
            assert line, told
            told.append(json.loads(line))
        return told[-1]

    try:
        async with asyncio.timeout(LIMIT):
            url = (await until("metrics at "))["message"].split()[-1]
            await until("serving ")
            async with seawall.connect(f"local://{tmp_path}") as channel:
                await pb_grpc.EchoStub(channel).Say(REQUEST)
            access = await until(SAY)
            text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0
    finally:
        if running.returncode is None:
            running.kill()
    assert access["code"] == "OK" and access["service"] == "echoservice"
    assert "grpc_server_call_started_total{" in text
    assert f'grpc_method="{SAY}",grpc_status="OK"' in text
