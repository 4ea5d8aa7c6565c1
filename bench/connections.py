"""``python -m bench.connections``: what thousands of idle connections cost a server.

A server in a process of its own, ``--limit`` file descriptors, ``--connections`` that say nothing
or have exchanged the settings of HTTP/2 (``--kind``). They come, stay, leave, and come once more;
another caller calls all the time. Exit status 1 if that one was not answered, or if descriptors did
not come back; 0 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack

from bench import machine
from tests.crowd import Crowd, room_for
from tests.limited import Calls, Held, Limited, own_channel
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

WAVES = 2
"""The second shows whether memory that isn't given back is at least used again."""
REST = 5.0
"""Seconds for which the server is watched while nobody does anything but the one caller."""
PATIENCE = 30.0
KINDS = {"greeted": True, "mute": False}


class Wave:
    """One coming and going of a crowd."""

    def __init__(self, server: Limited, port: int, stub: pb_grpc.EchoStub) -> None:
        self._server = server
        self._port = port
        self._stub = stub

    async def run(self, count: int, *, greets: bool) -> bool:
        """Print what it costs; whether all descriptors came back."""
        before = self._server.held
        async with Crowd(self._port, greets=greets) as crowd:
            began = time.monotonic()
            async with Calls(self._stub, PATIENCE) as calls:
                await crowd.come(count)
                await crowd.until(lambda: not greets or crowd.greeted + crowd.lost >= count)
                await asyncio.sleep(1.0)  # those that are refused are told so a moment later
            full, took = self._server.held, time.monotonic() - began - 1.0
            taken = max(1, full.descriptors - before.descriptors)
            self._tell_coming(before, full, taken, took, crowd.lost, calls)
            await self._stay(full)
        return await self._left(before)

    def _tell_coming(
        self, before: Held, full: Held, taken: int, took: float, lost: int, calls: Calls
    ) -> None:
        memory = full.memory - before.memory
        print(f"  come in {took:.1f} s: {taken} taken, {lost} refused")
        print(f"  memory: {memory >> 20} MiB more, {memory / taken / 1000:.1f} KB for each")
        print(f"  the server's CPU: {full.cpu - before.cpu:.2f} s")
        print(f"  {calls.answered} calls meanwhile, the slowest {calls.slowest * 1000:.0f} ms")

    async def _stay(self, full: Held) -> None:
        await asyncio.sleep(REST)
        share = (self._server.held.cpu - full.cpu) / REST
        print(f"  at rest: {share:.1%} of a core")

    async def _left(self, before: Held) -> bool:
        try:
            await self._server.comes_back_to(before.descriptors)
        except AssertionError as missing:
            print(f"  descriptors did not come back: {missing}")
            return False
        after = self._server.held
        print(f"  left: {after.descriptors} descriptors, {after.memory >> 20} MiB resident")
        return True


async def run(count: int, limit: int, kind: str) -> int:
    print(f"{count} connections, {kind}; {limit} file descriptors")
    well = True
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Limited(limit))
        port = await server.port()
        stub = pb_grpc.EchoStub(await stack.enter_async_context(own_channel(port)))
        await stub.Say(pb.EchoRequest(text="hello"))
        held = server.held
        print(f"  before: {held.descriptors} descriptors, {held.memory >> 20} MiB resident")
        for number in range(WAVES):
            print(f" wave {number + 1}")
            well &= await Wave(server, port, stub).run(count, greets=KINDS[kind])
            await stub.Say(pb.EchoRequest(text="hello"), timeout=PATIENCE)
        for line in server.log[1:]:
            print(f"  it said: {line}")
    return 0 if well else 1


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.connections",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, default=10_000, help="how many; 10000")
    parser.add_argument("--limit", type=int, default=12_000, help="the server's ulimit -n; 12000")
    parser.add_argument("--kind", choices=sorted(KINDS), help="one of them; both")
    options = parser.parse_args()
    facts = machine.facts()
    print(f"{facts['cpu']}, {facts['cores']} cores; {facts['python']}; {facts['packages']}")
    with room_for(max(options.connections, options.limit)) as there_is:
        if not there_is:
            parser.exit(1, "this process may not have so many descriptors (ulimit -Hn)\n")
        kinds = [options.kind] if options.kind else sorted(KINDS)
        sys.exit(max(asyncio.run(run(options.connections, options.limit, k)) for k in kinds))


if __name__ == "__main__":
    main()
