"""One replica: a plain ``grpc.aio`` server with so many workers. Started by ``fleet``.

A call waits for a worker, has it for the service time (it sleeps: replicas share the machine's
cores and must not compete for them), and is answered. So a replica's capacity is workers divided by
service time, and the queue before them is as unbounded as gRPC leaves it. Commands on stdin change
both while it runs.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import IO, Any, Final

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.echo import EchoServicer, add_EchoServicer_to_server
from bench.peers.child import be_child
from bench.peers.tally import Tally
from bench.worker import serve_commands

FAST: Final = 0.001
"""Seconds after which a failing replica has failed."""
GRACE: Final = 2.0
"""Seconds that calls under way have when the replica is asked to stop."""
OPTIONS: Final = [
    # Clients may ping as often as every second, as a server would allow that is run by the same
    # people; gRPC's own default closes the connections of those who ping every few seconds.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
]


class Replica(EchoServicer):
    """The service, and what is wrong with it at present."""

    def __init__(self, tally: Tally, state: dict[str, Any]) -> None:
        self._tally = tally
        self._in_flight = 0
        self._service = 0.0
        self._failing = False
        self._slots = asyncio.Semaphore(1)
        self._workers = 1
        self._set(state)

    def _set(self, state: dict[str, Any]) -> None:
        self._service = state.get("service", self._service)
        self._failing = state.get("failing", self._failing)
        workers = state.get("workers", self._workers)
        if workers != self._workers:
            self._workers, self._slots = workers, asyncio.Semaphore(workers)

    async def command(self, state: dict[str, Any]) -> dict[str, Any]:
        """Change what ``state`` names, and tell how many calls are here."""
        self._set(state)
        return {"in_flight": self._in_flight}

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        self._tally.add()
        self._in_flight += 1
        try:
            if self._failing:
                await asyncio.sleep(FAST)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "told to fail")
            async with self._slots:
                await asyncio.sleep(self._service)
            return request
        finally:
            self._in_flight -= 1


async def serve(spec: dict[str, Any], answers: IO[str]) -> None:
    tally = Tally(Path(spec["tally"]))
    replica, server = Replica(tally, spec["state"]), aio.server(options=OPTIONS)
    add_EchoServicer_to_server(replica, server)
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(f"127.0.0.1:{spec['port']}")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    commands = asyncio.create_task(serve_commands(answers, {}, replica.command))
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([commands, asked], return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            await server.stop(GRACE)
    finally:
        commands.cancel()
        asked.cancel()
        await server.stop(None)


if __name__ == "__main__":
    be_child(serve)
