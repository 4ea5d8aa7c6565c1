"""The main promise: 200 idempotent calls a second on three processes, and none fails.

What etcd alone may suffer is in ``tests/faults``.
"""

import asyncio
import signal

import pytest

import seawall
from seawall.testing.etcd import EtcdServer
from tests.fleet import Fleet, Load, RegisteredCount
from tests.protos import echo_pb2_grpc as pb_grpc

RATE = 200


@pytest.fixture(scope="module")
def etcd():
    with EtcdServer() as server:
        yield server


@pytest.fixture
async def fleet(etcd):
    async with Fleet(etcd.url) as made:
        await asyncio.gather(*(made.start() for _ in range(3)))
        yield made


@pytest.fixture
async def load(fleet):
    async with seawall.connect(fleet.registry) as channel:
        async with Load(pb_grpc.EchoStub(channel).Say, RATE) as made:
            await made.more(RATE)
            assert len(made.instances) == 3
            yield made


async def test_one_is_killed(fleet, load):
    fleet.running[0].kill()
    await load.more(2 * RATE)
    await fleet.start()
    await load.more(RATE)
    assert load.failures == []


async def test_one_is_frozen_and_thaws(fleet, load):
    fleet.running[0].send_signal(signal.SIGSTOP)
    await load.more(3 * RATE)
    fleet.running[0].send_signal(signal.SIGCONT)
    await load.more(RATE)
    assert load.failures == []


async def test_each_is_replaced_by_sigterm(fleet, load):
    for old in list(fleet.running):
        await fleet.start()
        old.terminate()
        await load.more(RATE // 2)
    for old in fleet.running[:3]:
        async with asyncio.timeout(15):
            assert await old.wait() == 0
    assert load.failures == []


@pytest.mark.timeout(120)
async def test_an_instance_dies_while_etcd_is_away(etcd, fleet, load):
    await asyncio.to_thread(etcd.kill)
    await load.more(RATE)
    fleet.running[0].kill()
    await load.more(RATE)
    await asyncio.to_thread(etcd.start)
    await RegisteredCount(etcd).becomes(2)
    assert load.failures == []
