"""Services as processes: signals, exit status, errors in a line."""

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import seawall
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

ROOT = Path(__file__).parents[2]
SEAWALL = Path(sys.executable).with_name("seawall")


@asynccontextmanager
async def process(*arguments, **environment):
    """The command ``seawall`` with these arguments; killed at the end if it still runs."""
    child = await asyncio.create_subprocess_exec(
        SEAWALL,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def serving(child) -> str:
    """The address in its log, once it serves."""
    async with asyncio.timeout(20):
        while line := (await child.stderr.readline()).decode():
            if found := re.search(r"serving \S.* at (\S+)$", line):
                return found[1]
    raise AssertionError("it ended without serving")


async def ended(*arguments, **environment) -> tuple[int, str]:
    """Exit status and error text of a run that is expected to end by itself."""
    async with process(*arguments, **environment) as child:
        async with asyncio.timeout(20):
            _, errors = await child.communicate()
        return child.returncode, errors.decode()


async def test_it_serves_until_sigterm_and_exits_well(tmp_path):
    url = f"local://{tmp_path / 'registry'}"
    async with process("run", "tests.echo:EchoService", "--registry", url) as child:
        address = await serving(child)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            assert (await stub.Say(pb.EchoRequest(text="x"))).instance == address
            call = stub.Say(pb.EchoRequest(text="slow", delay=0.5))
            await asyncio.wait_for(stub.Say(pb.EchoRequest()), 5)  # so the slow one is there too
            child.send_signal(signal.SIGTERM)
            assert (await call).text == "slow"
        async with asyncio.timeout(10):
            assert await child.wait() == 0


async def test_a_second_signal_exits_at_once(tmp_path):
    url = f"local://{tmp_path / 'registry'}"
    async with process("run", "tests.echo:EchoService", "--registry", url) as child:
        await serving(child)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            call = stub.Charge(pb.EchoRequest(delay=60), timeout=60)
            await stub.Say(pb.EchoRequest())
            child.send_signal(signal.SIGINT)
            while b"stopping" not in await child.stderr.readline():
                pass
            child.send_signal(signal.SIGINT)
            async with asyncio.timeout(5):
                assert await child.wait() == 130
            with pytest.raises(seawall.CallError):
                await call


async def test_a_killed_instance_costs_no_idempotent_call(tmp_path):
    url = f"local://{tmp_path / 'registry'}"
    arguments = ("run", "tests.echo:EchoService", "--registry", url)
    async with process(*arguments) as one, process(*arguments) as two:
        await serving(one)
        await serving(two)
        async with seawall.connect(url) as channel:
            stub = pb_grpc.EchoStub(channel)
            instances = set()
            async with asyncio.timeout(20):
                while len(instances) < 2:
                    replies = (stub.Say(pb.EchoRequest(delay=0.01)) for _ in range(8))
                    instances = {r.instance for r in await asyncio.gather(*replies)}
            calls = [stub.Say(pb.EchoRequest(text=str(n), delay=0.05)) for n in range(50)]
            one.kill()
            replies = await asyncio.gather(*calls)
            assert [r.text for r in replies] == [str(n) for n in range(50)]
            for _ in range(20):
                await stub.Say(pb.EchoRequest())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tests.echo:EchoService", "--registry", "ectd://x"], r"ectd.*did you mean|ectd.*etcd"),
        (["tests.echo:EchoService", "--registry", "etcd://127.0.0.1:1"], r"127\.0\.0\.1:1"),
        (["tests.echo"], "is not module:Class"),
        (["tests.nothing:Echo"], "no module 'tests.nothing'"),
        (["tests.echo:Ecko"], "has no 'Ecko'; its services: EchoService"),
        (["tests.conftest:Start"], "not a subclass of seawall.Service"),
        (["seawall:Service"], "implements no gRPC service"),
        (["tests.echo:EchoService", "--port", "99999"], "between 0 and 65535"),
        (
            ["tests.echo:EchoService", "--registry", "memory://x", "--service-config", "no.json"],
            "no.json can't be read",
        ),
    ],
)
async def test_what_is_wrong_is_told_in_a_line_within_seconds(arguments, said):
    started = time.monotonic()
    status, errors = await ended("run", *arguments)
    assert status in (1, 2)
    assert re.search(said, errors), errors
    assert "Traceback" not in errors
    assert time.monotonic() - started < 15  # the start of Python on a busy machine included


async def test_help_and_version():
    async with process("run", "--help") as child:
        out, _ = await child.communicate()
    assert b"module:Class" in out and b"SEAWALL_REGISTRY" in out
    async with process("--version") as child:
        out, _ = await child.communicate()
    assert out.decode().strip() == f"seawall {seawall.__version__}"
