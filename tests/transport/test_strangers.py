"""What strangers say in metadata: callers of their attempts, servers of their load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from grpc import aio

import seawall
from tests.echo import plain_server
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")

LIES: dict[str, tuple[tuple[str, str | bytes], ...]] = {
    "huge numbers": (("seawall-attempt", "9" * 500), ("seawall-no-retry", "9" * 500)),
    "no numbers": (("seawall-attempt", "-1e999"), ("seawall-no-retry", ""), ("seawall-load", "~")),
    "twice": (("seawall-attempt", "2"), ("seawall-attempt", "3"), ("seawall-no-retry", "1")) * 5,
    "binary": (("seawall-attempt-bin", b"\x00\xff" * 100), ("seawall-no-retry-bin", b"\x00")),
    "of another": (("seawall-criticality", "x" * 500), ("seawall-stale", "1e400")),
}


@pytest.mark.parametrize("metadata", LIES.values(), ids=LIES)
async def test_what_a_stranger_says_of_his_attempts_harms_nobody(start, metadata) -> None:
    service = await start()
    async with aio.insecure_channel(service.address) as channel:
        stub = pb_grpc.EchoStub(channel)
        for _ in range(3):
            assert (await stub.Say(REQUEST, metadata=metadata, timeout=10)).text == "hello"
        assert (await stub.Say(REQUEST, timeout=10)).text == "hello"


class Liar(pb_grpc.EchoServicer):
    """A server that says what it likes of its load, and of whether to try again."""

    def __init__(self, trailing: tuple[tuple[str, str | bytes], ...]) -> None:
        self._trailing = trailing

    async def Say(self, request: Any, context: Any) -> pb.EchoReply:
        context.set_trailing_metadata(self._trailing)
        return pb.EchoReply(text=request.text)

    async def Count(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        context.set_trailing_metadata(self._trailing)
        yield pb.EchoReply(text="0")


LOADS: dict[str, tuple[tuple[str, str | bytes], ...]] = {
    "no number": (("seawall-load", "nan nan nan nan nan"),),
    "infinite": (("seawall-load", "inf inf inf inf inf"),),
    "huge": (("seawall-load", "999999999 0 1e-300 999999999 0"),),
    "negative": (("seawall-load", "-1 -1 -1 -1 -1"),),
    "many": (("seawall-load", " ".join(["1"] * 1000)),),
    "empty": (("seawall-load", ""),),
    "twice": (("seawall-load", "x"), ("seawall-load", "1 1 1 1 1")),
    "binary": (("seawall-load-bin", b"\xff" * 100), ("endpoint-load-metrics-bin", b"\xff" * 100)),
    "pushback": (("grpc-retry-pushback-ms", "-9999999999999999999"),),
}


@pytest.mark.parametrize("balancer", ["hot_cold", "weighted_round_robin"])
@pytest.mark.parametrize("trailing", LOADS.values(), ids=LOADS)
async def test_servers_that_lie_about_their_load_fail_no_call(trailing, balancer) -> None:
    policy: dict[str, Any] = {"blackoutPeriod": "0s"} if balancer != "hot_cold" else {}
    document = {"loadBalancingConfig": [{balancer: policy}]}
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(plain_server(Liar(trailing if n < 4 else ())))
            for n in range(8)
        ]
        url = "static://" + ",".join(addresses)
        channel = await stack.enter_async_context(seawall.connect(url, service_config=document))
        stub = pb_grpc.EchoStub(channel)
        await channel.channel_ready()
        calls = [stub.Say(REQUEST, timeout=10) for _ in range(64)]
        assert {(await call).text for call in calls} == {"hello"}
        for _ in range(64):
            await stub.Say(REQUEST, timeout=10)
            assert [reply.text async for reply in stub.Count(REQUEST)] == ["0"]
