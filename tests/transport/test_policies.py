"""Policies of a service config at work, over real servers."""

import asyncio
import json

import pytest
from grpc import StatusCode

import seawall
from seawall.events import ConfigRefused, ConfigReplaced, EndpointConnected
from tests.echo import failing
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
SERVICE = pb.DESCRIPTOR.services_by_name["Echo"].full_name


def config(**fields):
    return {"methodConfig": [{"name": [{"service": SERVICE}], **fields}]}


def only(method: str, **own):
    return {"methodConfig": [{"name": [{"service": SERVICE, "method": method}], "seawall": own}]}


@pytest.fixture
async def fleet(registry):
    """Opens channels with a config; they are closed at the end."""
    opened = []

    def open_(service_config, **more):
        channel = seawall.connect(registry, service_config=service_config, **more)
        opened.append(channel)
        return pb_grpc.EchoStub(channel)

    yield open_
    for channel in opened:
        await channel.close()


async def frozen(name, context):
    await asyncio.sleep(30)


async def test_a_hedge_answers_for_one_that_is_slow(start, fleet):
    slow, _ = await start(), await start()
    slow.hook = frozen
    heard = Heard()
    policy = config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "0.02s"})
    stub = fleet(policy, listener=heard)
    await heard.told(EndpointConnected, 2)
    calls = [stub.Say(REQUEST, timeout=20) for _ in range(4)]
    async with asyncio.timeout(5):
        assert {(await call).text for call in calls} == {"hello"}
    assert slow.seen


async def test_a_call_may_be_hedged_by_an_option(start, fleet):
    slow, _ = await start(), await start()
    slow.hook = frozen
    heard = Heard()
    stub = fleet(None, listener=heard)
    await heard.told(EndpointConnected, 2)
    with seawall.options(hedge=0.02):
        calls = [stub.Say(REQUEST, timeout=20) for _ in range(4)]
    async with asyncio.timeout(5):
        assert {(await call).text for call in calls} == {"hello"}
    assert slow.seen


async def test_a_full_bulkhead_refuses_and_says_so(start, fleet):
    service = await start()
    stub = fleet(config(seawall={"bulkhead": {"maxConcurrent": 1}}))
    busy = stub.Say(pb.EchoRequest(text="busy", delay=30))
    await service.running.wait()
    with pytest.raises(seawall.BulkheadFull) as refused:
        await stub.Say(REQUEST)
    assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
    busy.cancel()
    assert (await stub.Say(REQUEST)).text == "hello"


async def test_a_bulkheads_queue_is_served_in_turn(start, fleet):
    service = await start()
    stub = fleet(config(seawall={"bulkhead": {"maxConcurrent": 1, "maxQueue": 50}}))
    replies = await asyncio.gather(*(stub.Say(pb.EchoRequest(text=str(n))) for n in range(50)))
    assert [reply.text for reply in replies] == [str(n) for n in range(50)]
    assert len(service.seen) == 50


async def test_the_last_good_answer_is_marked(start, fleet):
    service = await start()
    stub = fleet(only("Say", staleIfError={"maxAge": "60s"}))
    assert (await stub.Say(REQUEST)).text == "hello"
    service.hook = failing(times=100)
    call = stub.Say(REQUEST)
    assert (await call).text == "hello"
    assert [key for key, _ in await call.trailing_metadata()] == ["seawall-stale"]
    assert await call.code() is StatusCode.OK
    with pytest.raises(seawall.CallError):
        await stub.Say(pb.EchoRequest(text="never asked before"))


async def test_so_is_that_of_another_method(start, fleet):
    service = await start()
    say, charge = ({"name": [{"service": SERVICE, "method": name}]} for name in ("Say", "Charge"))
    say["seawall"] = {"staleIfError": {"maxAge": "60s"}}
    charge["seawall"] = {"fallback": {"method": f"/{SERVICE}/Say"}}
    stub = fleet({"methodConfig": [say, charge]})
    await stub.Say(REQUEST)
    service.hook = failing()
    call = stub.Charge(REQUEST)
    assert (await call).text == "hello"
    assert [key for key, _ in await call.trailing_metadata()] == ["seawall-stale"]
    assert "another method, with what a server had said before" in call.explain()


async def test_another_method_answers(start, fleet):
    service = await start()
    path, rest = f"/{SERVICE}/Charge", asyncio.sleep
    fail = failing()
    service.hook = lambda name, context: fail(name, context) if name == "Say" else rest(0)
    stub = fleet(only("Say", fallback={"method": path}))
    call = stub.Say(REQUEST, timeout=5)
    assert (await call).text == "hello"
    assert "Charge" in service.seen
    assert "another method" in call.explain()


async def test_a_file_that_changes_is_obeyed_at_once_and_a_bad_one_is_refused(
    start, fleet, tmp_path
):
    service = await start()
    file, heard = tmp_path / "policy.json", Heard()
    file.write_text(json.dumps(config(seawall={"retries": False})))
    stub = fleet(file, listener=heard)
    service.hook = failing(times=1)
    with pytest.raises(seawall.CallError):
        await stub.Say(REQUEST)
    file.write_text("{")
    assert "not JSON" in (await heard.told(ConfigRefused)).problem
    service.hook = failing(times=1)
    with pytest.raises(seawall.CallError):
        await stub.Say(REQUEST)
    other = tmp_path / "other.json"
    other.write_text("{}")
    other.replace(file)
    assert str(file) in (await heard.told(ConfigReplaced)).source
    service.hook = failing(times=1)
    assert (await stub.Say(REQUEST)).text == "hello"
