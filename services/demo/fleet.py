"""The processes of the demo: the shop's instances, each kept running on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from seawall.registry import Registry, open_registry
from services import plain, run, traces
from services.pb.chaos_pb2 import Fault
from services.pb.chaos_pb2_grpc import ChaosStub

HOST: Final = "127.0.0.1"
COPIES: Final = {
    "inventory": 3,
    "payments": 2,
    "orders": 2,
    "recommendations": 2,
    "storefront": 2,
}
"""The shop's services, each before those that call it, and how many instances each has."""
START_TIMEOUT: Final = 45.0
"""Seconds until all of them must be up, on a machine that is busy with other things too."""


class DemoError(Exception):
    """The demo can't go on; the text says why."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside the range from which the kernel gives outgoing
    connections theirs: so nobody takes an instance's port while it is down."""
    low = 32768
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        low = int(text.split()[0])
    top = low if low > 12_000 else 32_000
    ports: list[int] = []
    for port in random.sample(range(top - 10_000, top), 2_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise DemoError(f"no {count} free ports below {top} on {HOST}")


class Member:
    """One instance: a process that is started again, on the same port, when it ends."""

    restart_delay = 3.0
    """Seconds that a crashed one stays down; one that ended orderly is started at once."""

    def __init__(self, service: str, number: int, port: int, directory: Path) -> None:
        self.service = service
        self.name = f"{service}-{number}"
        self.address = f"{HOST}:{port}"
        self.log = directory / f"{self.name}.log"
        self.process: asyncio.subprocess.Process | None = None
        self.served = False
        self._port = port

    async def supervise(self, environment: Mapping[str, str]) -> None:
        """Keep it running until cancelled."""
        while True:
            code = await self._run({**environment, "SHOP_INSTANCE": self.name})
            await asyncio.sleep(self.restart_delay if code else 0)

    async def _run(self, environment: Mapping[str, str]) -> int:
        target = f"services.{self.service}:{self.service.capitalize()}"
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.run", target,
                env={**environment, "SEAWALL_HOST": HOST, "SEAWALL_PORT": str(self._port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
            )  # fmt: skip
        return await self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, if there is one."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def up(self) -> None:
        """Return when it serves, by its own word (``grpc.health.v1``)."""
        request = HealthCheckRequest(service=f"shop.v1.{self.service.capitalize()}")
        async with grpc.aio.insecure_channel(
            self.address, options=[("grpc.max_reconnect_backoff_ms", 200)]
        ) as channel:
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await HealthStub(channel).Check(request, timeout=1)
                    if answer.status == HealthCheckResponse.SERVING:
                        self.served = True
                        return
                await asyncio.sleep(0.1)

    async def set(self, fault: Fault) -> None:
        """Make it ill, or well again. Raises ``DemoError`` if it can't be told."""
        try:
            async with grpc.aio.insecure_channel(self.address) as channel:
                await ChaosStub(channel).Set(fault, timeout=5, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise DemoError(f"{self.name} can't be told what to do: {error.details()}") from None

    def last_words(self, lines: int = 15) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8").splitlines()[-lines:])
        return "(it wrote nothing)"


class Fleet:
    """All instances of the shop. An async context manager: none outlives it."""

    def __init__(self, directory: Path, registry: Registry) -> None:
        ports = iter(free_ports(sum(COPIES.values())))
        self.directory = directory
        self.registry = registry
        self.members = [
            Member(service, number, next(ports), directory)
            for service, copies in COPIES.items()
            for number in range(1, copies + 1)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def of(self, service: str) -> list[Member]:
        return [member for member in self.members if member.service == service]

    def environment(self) -> dict[str, str]:
        """What every process of the demo is told, the load generators too."""
        addresses = {
            f"{service.capitalize()}Stub": ",".join(member.address for member in self.of(service))
            for service in COPIES
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        return {
            **kept,
            "PYTHONUNBUFFERED": "1",
            "SEAWALL_REGISTRY": self.registry.url,
            "SEAWALL_UNIX_SOCKET": "off",  # the plain stubs have TCP alone
            "SEAWALL_SNAPSHOTS": str(self.directory / "snapshots"),
            "SHOP_DATA": str(self.directory),
            run.PARENT: str(os.getpid()),
            traces.FILE: str(self.directory / "spans"),
            plain.ADDRESSES: json.dumps(addresses),
        }

    async def __aenter__(self) -> Fleet:
        environment = self.environment()
        self._tasks = [
            asyncio.create_task(member.supervise(environment), name=member.name)
            for member in self.members
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self.members:
            member.send(signal.SIGKILL)
        for member in self.members:
            if member.process is not None:
                await member.process.wait()

    async def ready(self) -> None:
        """Return when every instance serves and the registry lists it. Raises ``DemoError``."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await asyncio.gather(*(member.up() for member in self.members))
                await self.listed()
        except TimeoutError:
            raise DemoError("\n".join(self._complaints())) from None

    async def listed(self) -> None:
        """Return when the registry lists every instance, by what it says to somebody new: a
        watch that has survived an outage would go on from the list that it had before."""
        registry = open_registry(self.registry.url, snapshots=False)
        try:
            await asyncio.gather(*(self._listed(service, registry) for service in COPIES))
        finally:
            await registry.close()

    async def _listed(self, service: str, registry: Registry) -> None:
        wanted = {member.address for member in self.of(service)}
        async for found in _watch(service, registry):
            if wanted <= {address for address, _ in found}:
                return

    async def replaced(self, member: Member) -> None:
        """Stop ``member`` with SIGTERM; return when the registry lists its successor."""
        before: set[tuple[str, str]] | None = None
        async for found in _watch(member.service, self.registry):
            if before is None:
                before = found
                member.send(signal.SIGTERM)
            elif any(address == member.address for address, _ in found - before):
                return

    def _complaints(self) -> Iterator[str]:
        yield f"the fleet was not up within {START_TIMEOUT:.0f} s"
        if self.registry.problem:
            yield f"the registry: {self.registry.problem}"
        absent = [member for member in self.members if not member.served]
        if not absent:
            yield f"all serve, but the registry at {self.registry.url} does not list them all"
        for member in absent:
            yield f"{member.name} does not serve; its last words:\n{member.last_words()}"


async def _watch(service: str, registry: Registry) -> AsyncIterator[set[tuple[str, str]]]:
    """The addresses and ids of a service's instances, whenever they change."""
    async for instances in registry.lists(f"shop.v1.{service.capitalize()}"):
        yield {(instance.address, instance.id) for instance in instances}
