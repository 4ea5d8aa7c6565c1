"""A server's life: start, ready, drain, stop.

Start: listen, wait for dependencies, ``on_start``, answer, be healthy, be announced; as paused, if
it isn't ready. Stop: not healthy, not announced, settle, refuse new calls, finish what runs within
the grace, ``on_stop``, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from seawall.assembly import connect, registry_at
from seawall.call import JSON
from seawall.errors import ServiceError, in_words
from seawall.events import ServerFailed
from seawall.registry.base import Registry
from seawall.server.calls.admission import Admission
from seawall.server.calls.handlers import Handlers
from seawall.server.calls.threads import HandlerPool
from seawall.server.event_loop.watch import LoopWatch
from seawall.server.health.listener import Answers, HealthListener
from seawall.server.health.servicer import SERVING, Health
from seawall.server.listening.descriptors import Descriptors, most_connections
from seawall.server.listening.ports import address_of, host_of, own_address
from seawall.server.listening.server import GrpcServer
from seawall.server.listening.unix_socket import facts_of, open_socket
from seawall.server.load.meter import Meter
from seawall.server.load.probe import Probe
from seawall.server.monitoring import Monitoring
from seawall.server.readiness.dependencies import Dependencies
from seawall.server.readiness.presence import Presence
from seawall.server.registration.announcement import Announcement
from seawall.server.registration.moving import Moving
from seawall.server.service import Service
from seawall.server.servicers import Recorder, find_adders
from seawall.server.settings import Settings
from seawall.telemetry.log import guarded
from seawall.telemetry.server_spans import ServerSpans
from seawall.telemetry.spans import spans
from seawall.transport.aio import Channel

LAST_WORDS = 0.25
"""Seconds, after the grace, that streams have to tell their callers why they end."""

_log = logging.getLogger("seawall.server")
_HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Server:
    """One process's services on one port, under one registration."""

    def __init__(self, services: Sequence[Service], settings: Settings) -> None:
        self._services = list(services)
        self._settings = settings = settings.resolved()
        self._listener = guarded(settings.listener)
        self._adders = [(service, find_adders(type(service))) for service in self._services]
        self._dependencies = Dependencies(self._services)
        self._closing = contextlib.AsyncExitStack()
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.ended = False
        """Whether it has been stopped, or has failed to start."""
        self.broken = asyncio.Event()
        """Set when gRPC takes no more calls, though nobody has asked for a stop: one has begun."""
        self._announcement: Announcement | None = None
        self._presence: Presence | None = None
        self._health_listener: HealthListener | None = None
        self._served: dict[Service, list[str]] = {}
        self._grpc: GrpcServer
        self.channel: Channel
        """What the services' clients call on."""
        self.health: Health
        self.loop_watch: LoopWatch
        """How late the event loop is."""
        self.admission = Admission(settings)
        self.meter = Meter(waiting=self.admission.waiting)
        self.names: list[str] = []
        """The services served, by their proto names."""
        self.port = 0

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
        """Announce other facts of what ``service`` serves."""
        await self._present(service).change(service, facts)

    async def pause(self, service: Service, *, paused: bool) -> None:
        """Have ``service`` take no calls until its user lets it again."""
        await self._present(service).pause(service, paused=paused)

    @property
    def announced(self) -> bool:
        """Whether the registry has had what is served here, and no goodbye."""
        made = self._announcement is not None and self._announcement.made
        return made and self._stopping is None

    def ready(self, service: Service) -> bool:
        """Whether what it requires is there, and its own check says yes; see ``readiness``."""
        return self._presence is not None and self._presence.ready(service)

    @property
    def address(self) -> str:
        """What clients are told to dial."""
        return "" if self._announcement is None else self._announcement.address

    @property
    def health_address(self) -> str | None:
        """Where health is answered beside the event loop; None = nowhere."""
        return self._health_listener.address if self._health_listener is not None else None

    def _failed(self, error: BaseException) -> None:
        if self._stopping is None:
            self._listener(ServerFailed(self.address, in_words(error)))
            self.broken.set()
            self._stopping = asyncio.create_task(self._stop())

    def _present(self, service: Service) -> Presence:
        if self._presence is None or self._stopping is not None:
            raise ServiceError(
                f"{type(service).__name__} is not serving: its facts can be changed from "
                "on_start() on, until it is stopped"
            )
        return self._presence

    async def _start(self) -> None:
        settings = self._settings
        monitoring = Monitoring(settings)
        self._closing.push_async_callback(monitoring.close, self)
        moving = Moving(self._listener)
        registry = registry_at(settings.registry, moving.tell)
        if not isinstance(settings.registry, Registry):
            self._closing.push_async_callback(registry.close)
        self.channel = connect(
            registry,
            service_config=settings.service_config,
            zone=settings.zone,
            listener=self._listener,
        )
        self._closing.push_async_callback(self.channel.close)
        self.loop_watch = LoopWatch.join(self, self._listener, settings.blocked_after)
        self._closing.callback(self.loop_watch.leave, self)
        self.admission.waited = monitoring.waited
        self._build(monitoring)
        host = settings.host or host_of(settings.advertise, registry.advertised_host())
        self.port = self._grpc.bind(host, settings.port or 0)
        self._closing.push_async_callback(self._grpc.close)
        self._listen_for_health()
        routed = registry.advertised_host()
        address = address_of(settings.advertise, routed, host, self.port)
        path = open_socket(self._grpc.inner) if settings.unix_socket else None
        facts = {**settings.metadata(), **facts_of(path)}
        identity = self._identity()
        announcement = Announcement(self.names, identity, address, facts)
        presence = Presence(self._served, self.health, announcement, self._listener)
        self._announcement, self._presence = announcement, presence
        monitoring.watch(self, type(self._services[0]).__name__, identity)
        for service in self._services:
            service._server = self
        await self._dependencies.find(self.channel, self.names, settings.dependency_timeout)
        for service in self._services:
            await service.on_start()
            self._closing.push_async_callback(service.on_stop)
        await self._grpc.start()
        self._probe.open(f"{own_address(host)}:{self.port}")
        self.admission.observe(self._probe)
        self._closing.push_async_callback(self._probe.close)
        self._closing.callback(self.admission.close)
        self._closing.push_async_callback(presence.close)
        await presence.begin(self._dependencies, self.channel)
        await self.health.set_all(SERVING)
        await announcement.make(registry)
        self._closing.push_async_callback(announcement.withdraw)
        if settings.advertise is None and routed is not None:
            moving.follow(announcement, partial(self._address_now, registry, host))
            self._closing.push_async_callback(moving.close)
        presence.follow()
        _log.info("serving %s at %s", ", ".join(self.names), self.address)

    def _address_now(self, registry: Registry, host: str) -> str | None:
        routed = registry.advertised_host()
        return None if routed is None else address_of(None, routed, host, self.port)

    def _build(self, monitoring: Monitoring) -> None:
        settings, most = self._settings, most_connections()
        pool = HandlerPool(settings.threads or 0)
        self._closing.callback(pool.shutdown, wait=False, cancel_futures=True)
        self._grpc = GrpcServer(settings, pool, most, self._failed)
        self._closing.callback(Descriptors(most).open().close)
        self._probe = Probe(self.admission.measuring, time.monotonic)
        traced = spans()
        handlers = self._handlers = Handlers(
            None if traced is None else ServerSpans(traced),
            self.meter,
            self.admission,
            monitoring,
            pool,
        )
        recorder = Recorder(self._grpc.inner, handlers.wrap)
        for service, adders in self._adders:
            before = len(recorder.names)
            for add in adders:
                add(service, recorder)
            self._served[service] = recorder.names[before:]
        self.names = recorder.names
        self.health = Health(self.names)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._grpc.inner)
        reflection.enable_server_reflection(
            (*self.names, _HEALTH_NAME, reflection.SERVICE_NAME), self._grpc.inner
        )

    def _listen_for_health(self) -> None:
        settings = self._settings
        if settings.health_address is not None:
            answers = Answers(self.health, self.loop_watch, settings.blocked_after)
            listener = HealthListener(settings.health_address, answers)
            listener.start()
            self._closing.push_async_callback(listener.stop)
            self._health_listener = listener

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
            self._dependencies.forget()
            self.ended = True

    async def _drain(self) -> None:
        settings, announcement, presence = self._settings, self._announcement, self._presence
        async with self._closing:
            if presence is None or announcement is None or not announcement.made:
                return  # it never came as far as being found
            _log.info("stopping %s at %s", ", ".join(self.names), self.address)
            await presence.close()
            await self.health.enter_graceful_shutdown()
            await announcement.withdraw()
            # Clients hear of it within 0.1 s; until they have, they are still answered.
            await asyncio.sleep(settings.settle or 0)
            # GOAWAY: what is sent from now on was not processed, and clients' cores know it.
            grace = settings.grace or 0.0
            ending = asyncio.get_running_loop().call_later(grace, self._handlers.under_way.end)
            try:
                await self._grpc.part(grace + LAST_WORDS)
            finally:
                ending.cancel()
