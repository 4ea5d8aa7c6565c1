"""gRPC's own task that takes calls in, and what happens when it ends."""

import asyncio
import sys
from pathlib import Path

import pytest
from grpc import StatusCode, aio

from seawall.events import ServerFailed
from seawall.server.listening import accepting
from tests.echo import EchoService
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

ROOT = Path(__file__).parents[2]
BREAKS = """
import asyncio, sys
from seawall.server.listening import accepting
from tests.echo import EchoService

async def fails(self, *which):
    raise RuntimeError("it broke")

class Breaks(EchoService):
    async def on_start(self):
        accepting.Accepting._request_registered_call = fails

if __name__ == "__main__":
    Breaks.run(registry="memory://breaks", host="127.0.0.1")
"""


async def one_more(address):
    """A call; the task that takes calls in goes on to the next one after it."""
    async with aio.insecure_channel(address) as channel:
        await pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text="one more"), timeout=10)


async def test_it_stops_in_good_order_and_says_why(monkeypatch):
    async def fails(self, *which):
        raise RuntimeError("it broke")

    heard = Heard()
    async with asyncio.timeout(30):
        async with EchoService(listener=heard, host="127.0.0.1") as service:
            async with aio.insecure_channel(service.address) as channel:
                stub = pb_grpc.EchoStub(channel)
                under_way = stub.Say(pb.EchoRequest(text="slow", delay=0.5))
                await service.running.wait()
                monkeypatch.setattr(accepting.Accepting, "_request_registered_call", fails)
                await one_more(service.address)
                await heard.told(ServerFailed)
                assert (await under_way).text == "slow"
                server = service._server
                await server.stop()
                assert server.ended
                with pytest.raises(aio.AioRpcError) as refused:
                    await stub.Say(pb.EchoRequest(text="late"), timeout=5)
                assert refused.value.code() is StatusCode.UNAVAILABLE
    (event,) = heard.of(ServerFailed)
    assert "it broke" in event.problem and event.address


async def test_a_stop_is_no_failure():
    heard = Heard()
    async with EchoService(listener=heard, host="127.0.0.1"):
        pass
    assert heard.of(ServerFailed) == []


async def test_the_process_exits_with_1():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BREAKS, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    assert b"ServerFailed" in log and b"it broke" in log
