"""A process that starts while etcd is away: it calls whom an earlier one knew."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

import seawall
from seawall.testing.registry import python_process
from tests.echo import EchoService
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.etcd_fixtures import LIMIT, EtcdServer, away, fragile

__all__ = ["fragile"]

_LATE = """
import asyncio, sys
import seawall
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

def tell(event):
    print("told", type(event).__name__, flush=True)

async def main(url):
    async with seawall.connect(url, listener=tell) as channel:
        stub = pb_grpc.EchoStub(channel)
        reply = await stub.Say(pb.EchoRequest(text="late"), timeout=2)
        first = reply.instance
        print("answered", first, flush=True)
        while reply.instance == first:
            reply = await stub.Say(pb.EchoRequest(text="later"), timeout=2)
            await asyncio.sleep(0.01)
        print("answered", reply.instance, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def lines_until(process: subprocess.Popen[bytes], start: str) -> list[str]:
    """What a process writes, up to a line that starts so."""
    lines = [""]
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        while not lines[-1].startswith(start):
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, f"the process has ended; it wrote {lines}"
            lines.append(line.decode().strip())
    return lines[1:]


async def test_a_process_that_starts_in_an_outage(
    fragile: EtcdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", str(tmp_path / "snapshots"))
    async with asyncio.timeout(3 * LIMIT), EchoService(registry=fragile.url) as old:
        async with seawall.connect(fragile.url) as channel:
            reply = await pb_grpc.EchoStub(channel).Say(pb.EchoRequest(text="early"), timeout=5)
            assert reply.instance == old.address
        await away(fragile.kill)
        async with python_process(_LATE, fragile.url) as (late, line):
            told = [line, *await lines_until(late, "answered")]
            assert told[-1] == f"answered {old.address}"
            assert {"told RegistryLost", "told SnapshotUsed"} <= set(told)
            await away(fragile.start)
            await lines_until(late, "told RegistryRegained")
            async with EchoService(registry=fragile.url) as new:
                told = await lines_until(late, "answered")
                assert told[-1] == f"answered {new.address}"
                assert "told EndpointLost" not in told
                assert await away(late.wait, LIMIT) == 0
