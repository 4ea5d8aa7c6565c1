"""Health beside the event loop: true while that is blocked, and alive is not the same as ready."""

import asyncio
import subprocess
import sys
import threading
from contextlib import contextmanager

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seawall.errors import ConfigError, ServiceError
from seawall.server.health import listener
from seawall.server.health.servicer import LIVENESS, NOT_SERVING, SERVING
from seawall.server.settings import Settings
from tests.echo import EchoService
from tests.server.test_loop_watch import block, until

ECHO = "seawall.tests.Echo"
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
HERE = "127.0.0.1:0"


class Asker:
    """Asks from threads of its own, as another process would."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def check(self, name: str = "") -> int:
        return self.stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status

    def list(self) -> dict[str, int]:
        answer = self.stub.List(health_pb2.HealthListRequest(), timeout=10)
        return {name: status.status for name, status in answer.statuses.items()}

    def watch(self, name: str = ""):
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=30)


@contextmanager
def asking(service):
    asker = Asker(service.server.health_address)
    try:
        yield asker
    finally:
        asker.channel.close()


async def test_the_same_answers_as_on_the_port(start):
    service = await start(health_address=HERE)
    with asking(service) as asker:
        assert await asyncio.to_thread(asker.list) == {"": SERVING, ECHO: SERVING}
        for name in ("", ECHO, LIVENESS):
            assert await asyncio.to_thread(asker.check, name) == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(asker.check, "no.Such")
        assert caught.value.code() is StatusCode.NOT_FOUND
        await service.pause()
        assert await asyncio.to_thread(asker.check) == NOT_SERVING
        assert await asyncio.to_thread(asker.check, LIVENESS) == SERVING


async def test_liveness_is_told_on_the_port_as_well(start):
    service = await start(settle=0.3)
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        alive = health_pb2.HealthCheckRequest(service=LIVENESS)
        assert (await stub.Check(alive)).status == SERVING
        stopping = asyncio.create_task(service.stop())
        async with asyncio.timeout(10):
            while (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING:
                await asyncio.sleep(0)
        assert (await stub.Check(alive)).status == SERVING, "whoever drains is not to be killed"
        await stopping


async def test_a_blocked_loop_is_told_while_it_is_blocked(start, monkeypatch):
    monkeypatch.setattr(listener, "WEDGED_AFTER", 0.5)
    service = await start(health_address=HERE, blocked_after=0.1)
    with asking(service) as asker:
        alive = await asyncio.to_thread(asker.check, LIVENESS)
        seen = []

        def look() -> bool:
            seen.append((asker.check(), asker.check(ECHO), asker.check(LIVENESS)))
            return seen[-1][2] == NOT_SERVING

        block(look)
        assert alive == SERVING
        assert (NOT_SERVING, NOT_SERVING, SERVING) in seen, "not ready, and not to be killed yet"
        assert seen[-1] == (NOT_SERVING, NOT_SERVING, NOT_SERVING)
        again = (SERVING, SERVING, SERVING)
        assert await asyncio.to_thread(until, lambda: look() or seen[-1] == again)


async def test_a_watch_hears_of_a_block_and_of_its_end(start):
    service = await start(health_address=HERE, blocked_after=0.1)
    with asking(service) as asker:
        watch = asker.watch()
        assert (await asyncio.to_thread(next, watch)).status == SERVING
        heard = []
        block(lambda: heard.append(next(watch).status) or True)
        assert heard == [NOT_SERVING]
        assert (await asyncio.to_thread(next, watch)).status == SERVING
        stranger = asker.watch("no.Such")
        assert (await asyncio.to_thread(next, stranger)).status == UNKNOWN
        await service.pause()
        assert (await asyncio.to_thread(next, watch)).status == NOT_SERVING


async def test_many_watches_leave_room_for_checks(start):
    service = await start(health_address=HERE)
    with asking(service) as asker:
        watches = [asker.watch() for _ in range(listener._MOST_WATCHES)]
        for watch in watches:
            assert (await asyncio.to_thread(next, watch)).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(next, asker.watch())
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert await asyncio.to_thread(asker.check) == SERVING
        watches.pop().cancel()

        def room() -> bool:
            watch = asker.watch()
            try:
                return next(watch).status == SERVING
            except grpc.RpcError:
                return False

        assert await asyncio.to_thread(until, room)


async def test_while_it_starts_it_is_alive_and_not_ready(registry, monkeypatch):
    monkeypatch.setattr(listener, "WEDGED_AFTER", 0.1)
    seen = []

    class Slow(EchoService):
        async def on_start(self):
            with asking(self) as asker:
                block(lambda: self.server.loop_watch.blocked > 0.3 and seen.append(
                    (asker.check(), asker.check(LIVENESS))) is None)  # fmt: skip

    async with Slow(registry=registry, health_address=HERE):
        assert seen == [(NOT_SERVING, SERVING)]


async def test_it_answers_to_the_end_of_the_stop(registry):
    seen = []

    class Closing(EchoService):
        async def on_stop(self):
            with asking(self) as asker:
                seen.append(await asyncio.to_thread(asker.check))
                seen.append(await asyncio.to_thread(asker.check, LIVENESS))

    service = Closing(registry=registry, health_address=HERE)
    async with service:
        address = service.server.health_address
    assert seen == [NOT_SERVING, SERVING]
    async with EchoService(registry=registry, health_address=address):
        pass  # the port is free
    assert await asyncio.to_thread(
        until, lambda: not [t for t in threading.enumerate() if t.name.startswith("seawall health")]
    )


async def test_who_asks_is_let_go_in_peace(registry, capfd):
    """Cut off, gRPC's core would log an error of the connection in whoever asks."""
    service = EchoService(registry=registry, health_address=HERE, settle=0)
    await service.start()
    async with grpc.aio.insecure_channel(service.server.health_address) as channel:
        request = health_pb2.HealthCheckRequest(service=LIVENESS)
        await health_pb2_grpc.HealthStub(channel).Check(request)
        await service.stop()
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
    assert "oaway" not in capfd.readouterr().err


async def test_on_a_unix_socket(start, tmp_path):
    path = tmp_path / "health.sock"
    service = await start(health_address=f"unix:{path}")
    with asking(service) as asker:
        assert await asyncio.to_thread(asker.check) == SERVING
    await service.stop()
    assert not path.exists()


async def test_addresses_that_are_taken_or_not_there(start, registry, tmp_path):
    service = await start(health_address=HERE)
    address = service.server.health_address
    port = address.rpartition(":")[2]
    taken = rf"can't listen on 127\.0\.0\.1 port {port}: .*use; .*health_address=, SEAWALL_HEALTH"
    with pytest.raises(ServiceError, match=taken):
        await start(health_address=address)
    missing = f"unix:{tmp_path}/no/such/place"
    with pytest.raises(ServiceError, match=rf"can't listen on {missing}: No such file"):
        await start(health_address=missing)


@pytest.mark.parametrize(
    "address", ["8080", ":8080", "host:", "host:x", "host:99999", "::1:80", "[host]:80", "unix:"]
)
def test_addresses_that_are_none(address, monkeypatch):
    with pytest.raises(ConfigError, match=r"^health_address: "):
        Settings(health_address=address).resolved()
    monkeypatch.setenv("SEAWALL_HEALTH", address)
    with pytest.raises(ConfigError, match=r"^health_address: "):
        Settings().resolved()


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:0", "localhost:65535", "unix:/run/x"])
def test_addresses_that_are(address):
    assert Settings(health_address=address).resolved().health_address == address


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_bound_that_is_none(seconds):
    with pytest.raises(ConfigError, match="blocked_after"):
        Settings(blocked_after=seconds).resolved()


PROGRAM = """
import asyncio, sys, threading, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.echo import EchoService

async def main():
    service = EchoService(registry="memory://exit", health_address="127.0.0.1:0")
    await service.start()
    channel = grpc.insecure_channel(service.server.health_address)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await asyncio.to_thread(next, watch)).status == 1
    raise SystemExit(7)  # never stopped

asyncio.run(main())
"""


def test_a_process_that_forgets_to_stop_exits_all_the_same():
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, timeout=30, capture_output=True, check=False)
    assert run.returncode == 7, run.stderr
