"""Puts the parts of a sync channel together, as ``assembly`` does for the aio stack."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import grpc

from seawall.assembly import Assembly
from seawall.config import ServiceConfig
from seawall.events import Event, Listener
from seawall.pipeline import Pipeline
from seawall.registry.base import Registry
from seawall.telemetry.log import guarded, log_event
from seawall.transport.methods import Route
from seawall.transport.sync.background import Background
from seawall.transport.sync.calls import Calls
from seawall.transport.sync.channel import Channel
from seawall.transport.sync.discovery import SyncDiscovery
from seawall.transport.sync.reading import READING


def connect(
    registry: str | Registry | None = None,
    *,
    service_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    zone: str | None = None,
    listener: Listener = log_event,
) -> Channel:
    """A sync channel on which any generated stub calls any service that the registry knows.

    It has the interface of ``grpc.Channel``, belongs to no thread, and is closed by ``close()`` or
    a ``with`` block. The arguments are those of ``seawall.connect``; an open ``Registry`` must not
    be in use on an event loop, as the channel uses it on one of its own. ``listener`` is called on
    a thread of its own, so it may make calls, and wait.

    Raises ``ConfigError`` for a URL or a config that makes no sense. Does not wait for the
    registry: the first call does, and explains itself if it can't be reached.
    """
    background = Background()
    heard = guarded(_on(background, guarded(listener, counted=False)))
    assembly = SyncAssembly(background, registry, service_config, credentials, zone, heard)
    return Channel(Calls(background, assembly))


class SyncAssembly(Assembly):
    """The router of one sync channel.

    Stubs are made by any thread, so a lock guards what is made here; all else is done on the
    background's thread. Events are told on a thread for news, never under a service's lock.
    """

    def __init__(self, background: Background, *facts: Any) -> None:
        self._lock = threading.RLock()
        self._background = background
        self.connectivity: Callable[[], None] = lambda: None
        """Called when instances have come or gone."""
        super().__init__(*facts)
        self._setting = self._setting.changed(reading=READING)

    def route(self, path: str, *, request_streaming: bool, response_streaming: bool) -> Route:
        with self._lock:
            return super().route(
                path, request_streaming=request_streaming, response_streaming=response_streaming
            )

    def adopt(self, config: ServiceConfig, service: str | None = None) -> None:
        with self._lock:
            super().adopt(config, service)

    def follow_config(self, service: str) -> None:
        self._background.do(super().follow_config, service)

    def _discovery(self, service: str) -> SyncDiscovery:
        found = self._discoveries.get(service)
        if not isinstance(found, SyncDiscovery):
            found = self._discoveries[service] = SyncDiscovery(
                self._background,
                self._told,
                self._registry,
                partial(Pipeline, service, self._config_of(service), self._setting),
                self._listener,
                self._credentials,
            )
        return found

    def _told(self) -> None:
        self.connectivity()


def _on(background: Background, listener: Listener) -> Listener:
    def tell(event: Event) -> None:
        background.tell(listener, event)

    return tell
