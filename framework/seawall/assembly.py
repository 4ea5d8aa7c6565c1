"""Puts the parts together: registry, endpoints, policies, drivers."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from seawall.call import Method
from seawall.config import ServiceConfig, is_path, load_service_config
from seawall.errors import ConfigError
from seawall.events import Listener
from seawall.live_config import FROM_REGISTRY, follow_file, follow_registry
from seawall.pipeline import Pipeline, Setting
from seawall.registry import open_registry
from seawall.registry.base import Registry
from seawall.telemetry.layers import layers
from seawall.telemetry.log import guarded, log_event
from seawall.telemetry.metrics import Fallbacks, metrics
from seawall.telemetry.spans import spans
from seawall.transport.aio import Channel
from seawall.transport.discovery import Discovery
from seawall.transport.idempotency import method_at
from seawall.transport.methods import Route
from seawall.transport.reading import READING

if TYPE_CHECKING:
    from seawall.telemetry.store import Reading

REGISTRY_VARIABLE: Final = "SEAWALL_REGISTRY"
CONFIG_VARIABLE: Final = "SEAWALL_SERVICE_CONFIG"
ZONE_VARIABLE: Final = "SEAWALL_ZONE"
DEFAULT_REGISTRY: Final = "local://"


def connect(
    registry: str | Registry | None = None,
    *,
    service_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    zone: str | None = None,
    listener: Listener = log_event,
) -> Channel:
    """A channel on which any generated stub calls any service that the registry knows.

    registry: its URL (or an open ``Registry``, which stays the caller's to close). Default: the
        variable SEAWALL_REGISTRY, else ``local://``.
    service_config: gRPC's service config as a mapping, JSON text or path; a file is read again
        when it changes. ``"registry"``: each service's from where the registry keeps it. Default:
        the path (or ``registry``) in SEAWALL_SERVICE_CONFIG, else seawall's defaults.
    credentials: for connections over TLS; default: plain text.
    zone: where this process runs, for balancers that stay near. Default: SEAWALL_ZONE.
    listener: told what changes (``seawall.events``); default: the log.

    Raises ``ConfigError`` for a URL or a config that makes no sense. Does not wait for the
    registry: the first call does, and explains itself if it can't be reached.
    """
    return Channel(Assembly(registry, service_config, credentials, zone, guarded(listener)))


def registry_at(registry: str | Registry | None, listener: Listener) -> Registry:
    """The registry that is meant by an argument, by the environment, or by default."""
    if isinstance(registry, Registry):
        return registry
    url = registry or os.environ.get(REGISTRY_VARIABLE) or DEFAULT_REGISTRY
    return open_registry(url, listener=guarded(listener))


class Assembly:
    """The router of one channel: makes each service's group and each method's plan, once."""

    def __init__(
        self,
        registry: str | Registry | None,
        service_config: str | os.PathLike[str] | Mapping[str, Any] | None,
        credentials: grpc.ChannelCredentials | None,
        zone: str | None,
        listener: Listener,
    ) -> None:
        source = service_config or os.environ.get(CONFIG_VARIABLE) or None
        self._live = source if isinstance(source, str | os.PathLike) else None
        self._config = load_service_config(None if source == FROM_REGISTRY else source)
        self._configs: dict[str, ServiceConfig] = {}
        """By service, what the registry holds for it."""
        self._followers: dict[str, asyncio.Task[None]] = {}
        self.changed: Callable[[], None] = lambda: None
        """Called when routes are to be asked for again."""
        self._owns_registry = not isinstance(registry, Registry)
        self._registry = registry_at(registry, listener)
        if source == FROM_REGISTRY and not self._registry.keeps_configs:
            raise ConfigError("", f"{self._registry.url} keeps no service configs: give a path")
        self._credentials = credentials
        self._listener = listener
        self._discoveries: dict[str, Discovery] = {}
        self._routes: dict[str, Route] = {}
        self._metrics = counted = metrics()
        outer, inner = layers(spans(), counted, time.monotonic)
        self._setting = Setting(
            clock=time.monotonic,
            random=random.random,
            reading=READING,
            listener=listener,
            told=Fallbacks(counted),
            zone=os.environ.get(ZONE_VARIABLE, "") if zone is None else zone,
            seed=os.urandom(8).hex(),
            outer=outer,
            inner=inner,
        )
        if counted is not None:
            counted.watch(self, Assembly.readings)

    @property
    def discoveries(self) -> Iterable[Discovery]:
        return list(self._discoveries.values())

    def readings(self) -> Iterator[Reading]:
        """How its services and its registry are, for the metrics."""
        from seawall.telemetry.clients import readings_of, readings_of_registry

        yield from readings_of(discovery.pipeline for discovery in self.discoveries)
        yield from readings_of_registry(self._registry)

    def route(self, path: str, *, request_streaming: bool, response_streaming: bool) -> Route:
        """How calls of the method at ``path`` are handled."""
        if path not in self._routes:
            bare = Method.from_path(path)
            policy = self._config_of(bare.service).for_method(bare)
            method = method_at(
                path,
                request_streaming=request_streaming,
                response_streaming=response_streaming,
                idempotent=policy.idempotent,
            )
            discovery = self._discovery(method.service)
            handler = discovery.pipeline.handler(method, policy)
            self._routes[path] = Route(method, policy, handler, discovery)
        return self._routes[path]

    def adopt(self, config: ServiceConfig, service: str | None = None) -> None:
        """Put another config in force, for all services or for one. What it raises (a balancer of
        the user's own may fail to be made) it raises before anything has changed."""
        concerned = [d for d in self.discoveries if service in (None, d.service)]
        for discovery in concerned:
            discovery.pipeline.rehearse(config)
        if service is None:
            self._config = config
        else:
            self._configs[service] = config
        for discovery in concerned:
            discovery.reconfigure(config)
        self._routes.clear()
        self.changed()

    def follow_config(self, service: str) -> None:
        """Begin to watch where the config of ``service`` comes from, once. Needs a running loop."""
        source = self._live
        if source == FROM_REGISTRY:
            if service not in self._followers:
                adopt = partial(self.adopt, service=service)
                known = self._config_of(service)
                work = follow_registry(self._registry, service, known, adopt, self._listener)
                self._followers[service] = asyncio.create_task(work, name=f"config of {service}")
        elif source is not None and not self._followers and is_path(source):
            work = follow_file(os.fspath(source), self._config, self.adopt, self._listener)
            self._followers[""] = asyncio.create_task(work, name="service config file")

    async def close(self) -> None:
        if self._metrics is not None:
            self._metrics.forget(self)
        for follower in self._followers.values():
            follower.cancel()
        if self._followers:
            await asyncio.wait(self._followers.values())
        await asyncio.gather(*(discovery.close() for discovery in self.discoveries))
        if self._owns_registry:
            await self._registry.close()

    def _config_of(self, service: str) -> ServiceConfig:
        return self._configs.get(service, self._config)

    def _discovery(self, service: str) -> Discovery:
        if service not in self._discoveries:
            self._discoveries[service] = Discovery(
                self._registry,
                partial(Pipeline, service, self._config_of(service), self._setting),
                self._listener,
                self._credentials,
            )
        return self._discoveries[service]
