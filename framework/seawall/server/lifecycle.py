"""A server's life: start, ready, drain, stop.

Start: listen, wait for dependencies, ``on_start``, answer, be healthy, be announced. Stop: not
healthy, not announced, settle, refuse new calls, finish what runs within the grace, ``on_stop``,
close.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from seawall.assembly import connect, registry_at
from seawall.call import JSON, PAUSED
from seawall.errors import ServiceError
from seawall.registry.base import Registry
from seawall.server.announcement import Announcement
from seawall.server.handlers import Handlers
from seawall.server.health import SERVING, Health
from seawall.server.meter import Meter
from seawall.server.service import Service, client
from seawall.server.servicers import Recorder, find_adders
from seawall.server.settings import Settings
from seawall.server.sockets import facts_of, open_socket
from seawall.telemetry.log import guarded
from seawall.telemetry.server_spans import ServerSpans
from seawall.telemetry.spans import spans
from seawall.transport.aio import Channel
from seawall.transport.keepalive import SERVER_OPTIONS

_log = logging.getLogger("seawall.server")
_HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Server:
    """One process's services on one port, under one registration."""

    def __init__(self, services: Sequence[Service], settings: Settings) -> None:
        self._services = list(services)
        self._settings = settings = settings.resolved()
        self._listener = guarded(settings.listener)
        self._adders = [(service, find_adders(type(service))) for service in self._services]
        self._closing = contextlib.AsyncExitStack()
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.ended = False
        """Whether it has been stopped, or has failed to start."""
        self._announcement: Announcement | None = None
        self._changing = asyncio.Lock()
        self._served: dict[Service, list[str]] = {}
        self._grpc: Any = None
        self._answering = False
        self.channel: Channel
        """What the services' clients call on."""
        self.health: Health
        self.meter = Meter()
        self.names: list[str] = []
        """The services served, by their proto names."""
        self.port = 0
        self.address = ""

    async def start(self) -> None:
        """See the module. If it fails, or is cancelled, what had been started is stopped."""
        self._starting = asyncio.create_task(self._start())
        try:
            await self._starting
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave in good order; a start that is under way is given up first.

        Called again, it waits for the same end.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def change(self, service: Service, facts: Mapping[str, JSON]) -> None:
        """Announce other facts of what ``service`` serves; a paused one isn't healthy either."""
        if self._announcement is None or self._stopping is not None:
            raise ServiceError(
                f"{type(service).__name__} is not serving: its facts can be changed from "
                "on_start() on, until it is stopped"
            )
        names = self._served[service]
        async with self._changing:  # health and registry must not disagree in the end
            if PAUSED in facts:
                await self.health.pause(names, paused=facts[PAUSED] is True)
            await self._announcement.change(names, facts)

    async def _start(self) -> None:
        settings = self._settings
        registry = registry_at(settings.registry, self._listener)
        if not isinstance(settings.registry, Registry):
            self._closing.push_async_callback(registry.close)
        self.channel = connect(
            registry,
            service_config=settings.service_config,
            zone=settings.zone,
            listener=self._listener,
        )
        self._closing.push_async_callback(self.channel.close)
        self._build()
        host = settings.host or _host(settings.advertise, registry.advertised_host())
        self.port = self._bind(host)
        self._closing.push_async_callback(self._close_port)
        self.address = _address(settings.advertise, registry.advertised_host(), host, self.port)
        path = open_socket(self._grpc) if settings.unix_socket else None
        facts = {**settings.metadata(), **facts_of(path)}
        self._announcement = Announcement(self.names, self._identity(), self.address, facts)
        for service in self._services:
            service._server = self
        await self._find_dependencies()
        for service in self._services:
            await service.on_start()
            self._closing.push_async_callback(service.on_stop)
        await self._grpc.start()
        self._answering = True
        await self.health.set_all(SERVING)
        await self._announcement.make(registry)
        self._closing.push_async_callback(self._announcement.withdraw)
        _log.info("serving %s at %s", ", ".join(self.names), self.address)

    def _build(self) -> None:
        self._grpc = aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
        traced = spans()
        handlers = Handlers(None if traced is None else ServerSpans(traced), self.meter)
        recorder = Recorder(self._grpc, handlers.wrap)
        for service, adders in self._adders:
            before = len(recorder.names)
            for add in adders:
                add(service, recorder)
            self._served[service] = recorder.names[before:]
        self.names = recorder.names
        self.health = Health(self.names)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._grpc)
        reflection.enable_server_reflection(
            (*self.names, _HEALTH_NAME, reflection.SERVICE_NAME), self._grpc
        )

    def _bind(self, host: str) -> int:
        port = self._settings.port or 0
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError:
            raise ServiceError(_why_not_bound(host, port)) from None

    async def _close_port(self) -> None:
        if not self._answering:
            await self._grpc.start()  # gRPC lets go of a port only by stopping what was started
        await self._grpc.stop(None)

    async def _find_dependencies(self) -> None:
        """Wait until each client has an instance to call; go on without after a while.

        Two services that need each other would wait for ever otherwise, and a dependency with a
        fallback need not be there. What this process serves itself comes when it is ready.
        """
        for service, name in self._clients():
            getattr(service, name)  # makes the stub, which begins the search
        needed = [d for d in self.channel.discoveries if d.service not in self.names]
        searches = [asyncio.create_task(discovery.connected()) for discovery in needed]
        try:
            if searches:
                await asyncio.wait(searches, timeout=self._settings.dependency_timeout)
        finally:
            for search in searches:
                search.cancel()
        if missing := [d.service for d in needed if not d.group.ready]:
            _log.warning(
                "starting without %s: no instance found within %g s",
                ", ".join(missing),
                self._settings.dependency_timeout,
            )

    def _clients(self) -> list[tuple[Service, str]]:
        """The ``client(...)`` declarations of the services."""
        return [
            (service, name)
            for service in self._services
            for name, value in inspect.getmembers_static(type(service))
            if isinstance(value, client)
        ]

    def _identity(self) -> str:
        made_up = f"{socket.gethostname()}-{self.port}-{uuid.uuid4().hex[:8]}"
        return self._settings.instance_id or made_up

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        try:
            await self._drain()
        finally:
            for service, name in self._clients():
                vars(service).pop(name, None)  # its channel is closed
            self.ended = True

    async def _drain(self) -> None:
        settings, announcement = self._settings, self._announcement
        async with self._closing:
            if announcement is None or not announcement.made:
                return  # it never came as far as being found
            _log.info("stopping %s at %s", ", ".join(self.names), self.address)
            await self.health.enter_graceful_shutdown()
            await announcement.withdraw()
            # Clients hear of it within 0.1 s; until they have, they are still answered.
            await asyncio.sleep(settings.settle or 0)
            # GOAWAY: what is sent from now on was not processed, and clients' cores know it.
            await self._grpc.stop(settings.grace)


def _host(advertise: str | None, routed: str | None) -> str:
    """The interface to listen on: no wider than it must be."""
    if advertise is None and (routed is None or routed.startswith("127.") or routed == "::1"):
        return "127.0.0.1"
    return "::"


def _address(advertise: str | None, routed: str | None, host: str, port: int) -> str:
    """What clients are told to dial."""
    if advertise:
        if advertise.count(":") > 1 and not advertise.startswith(("[", "unix")):
            return f"[{advertise}]:{port}"  # IPv6
        if advertise.startswith("unix:") or re.search(r":\d+$", advertise):
            return advertise
        return f"{advertise}:{port}"
    shown = host if host not in ("::", "0.0.0.0") else routed or "127.0.0.1"
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def _why_not_bound(host: str, port: int) -> str:
    """gRPC says only that it could not: ask the system why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            mend = "set another port (port=, --port, SEAWALL_PORT), or 0 for a free one"
            return f"can't listen on {host} port {port}: {error.strerror}; {mend}"
    return f"can't listen on {host} port {port}; is the host an address of this machine?"
