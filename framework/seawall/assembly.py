"""Puts the parts together: registry, endpoints, policies, drivers."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from seawall.balancer import balancer_for
from seawall.balancer.latency import PeakEwma
from seawall.call import Endpoint, Instance, Method
from seawall.events import BreakerChanged, Listener
from seawall.policy.balance import balance
from seawall.policy.breaker import Breaker, State
from seawall.policy.budget import Budget, RetryBudget, RetryThrottle
from seawall.policy.config import MethodPolicy, ServiceConfig, load_service_config
from seawall.policy.deadline import deadline
from seawall.policy.fallback import fallback
from seawall.policy.group import Group
from seawall.policy.plan import Handler, Layer, send, stack
from seawall.policy.retry import retry
from seawall.registry import open_registry
from seawall.registry.base import Registry
from seawall.telemetry import tracing
from seawall.telemetry.log import guarded, log_event
from seawall.telemetry.spans import spans
from seawall.transport.aio import Channel
from seawall.transport.discovery import Discovery
from seawall.transport.idempotency import method_at
from seawall.transport.methods import Route

REGISTRY_VARIABLE: Final = "SEAWALL_REGISTRY"
CONFIG_VARIABLE: Final = "SEAWALL_SERVICE_CONFIG"
DEFAULT_REGISTRY: Final = "local://"


def connect(
    registry: str | Registry | None = None,
    *,
    service_config: str | Path | Mapping[str, Any] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    listener: Listener = log_event,
) -> Channel:
    """A channel on which any generated stub calls any service that the registry knows.

    registry: its URL (or an open ``Registry``, which stays the caller's to close). Default: the
        variable SEAWALL_REGISTRY, else ``local://``.
    service_config: gRPC's service config as a mapping, JSON text or path. Default: the path in
        SEAWALL_SERVICE_CONFIG, else seawall's defaults.
    credentials: for connections over TLS; default: plain text.
    listener: told what changes (``seawall.events``); default: the log.

    Raises ``ConfigError`` for a URL or a config that makes no sense. Does not wait for the
    registry: the first call does, and explains itself if it can't be reached.
    """
    return Channel(Assembly(registry, service_config, credentials, guarded(listener)))


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
        service_config: str | Path | Mapping[str, Any] | None,
        credentials: grpc.ChannelCredentials | None,
        listener: Listener,
    ) -> None:
        self._config = load_service_config(
            service_config or os.environ.get(CONFIG_VARIABLE) or None
        )
        self._owns_registry = not isinstance(registry, Registry)
        self._registry = registry_at(registry, listener)
        self._credentials = credentials
        self._listener = listener
        self._clock = time.monotonic
        self._services: dict[str, _Service] = {}
        self._routes: dict[str, Route] = {}
        self._spans = spans()

    @property
    def discoveries(self) -> Iterable[Discovery]:
        return [service.discovery for service in self._services.values()]

    def route(self, path: str, *, request_streaming: bool, response_streaming: bool) -> Route:
        """How calls of the method at ``path`` are handled."""
        if path not in self._routes:
            policy = self._config.for_method(Method.from_path(path))
            method = method_at(
                path,
                request_streaming=request_streaming,
                response_streaming=response_streaming,
                idempotent=policy.idempotent,
            )
            service = self._service(method.service)
            handler = self._handler(policy, service)
            self._routes[path] = Route(method, policy, handler, service.discovery)
        return self._routes[path]

    async def close(self) -> None:
        await asyncio.gather(*(discovery.close() for discovery in self.discoveries))
        if self._owns_registry:
            await self._registry.close()

    def _handler(self, policy: MethodPolicy, service: _Service) -> Handler:
        """The stack of layers, the outermost first, each in its place for a reason."""
        clock, traced = self._clock, self._spans
        layers: list[Layer] = []
        if traced is not None:
            # Over everything: the span lasts as long as the caller waits.
            layers.append(tracing.call_span(traced))
        layers += [
            # Above all that can fail, as it answers for what they could not mend.
            fallback,
            # Above retry: a call without time is refused before anything is counted or picked.
            deadline,
            # Above balance: every attempt is a new pick.
            retry(policy.retry, service.budget, clock, random.random),
            # Picks among those that their breakers admit, and tells the picked one how it went.
            balance(service.discovery.group, service.balancer, clock),
        ]
        if traced is not None:
            # Below the pick, so that the span knows the endpoint; right above the wire.
            layers.append(tracing.attempt_span(traced))
        return stack(layers, send)

    def _service(self, name: str) -> _Service:
        if name not in self._services:
            self._services[name] = _Service(
                Discovery(name, self._registry, self._endpoint, self._listener, self._credentials),
                balancer_for(self._config.balancer, random.random),
                _budget(self._config, self._clock),
            )
        return self._services[name]

    def _endpoint(self, instance: Instance, group: Group) -> Endpoint:
        def moved(old: State, new: State) -> None:
            group.trip(endpoint)
            self._listener(BreakerChanged(group.service, instance.address, old.value, new.value))

        endpoint = Endpoint(instance, Breaker(self._config.breaker, moved), PeakEwma())
        return endpoint


class _Service:
    """What all methods of a service share."""

    def __init__(self, discovery: Discovery, balancer: Any, budget: Budget) -> None:
        self.discovery = discovery
        self.balancer = balancer
        self.budget = budget


def _budget(config: ServiceConfig, clock: Any) -> Budget:
    if config.throttle is not None:
        return RetryThrottle(config.throttle.max_tokens, config.throttle.token_ratio)
    return RetryBudget(clock, ratio=config.budget.ratio, floor=config.budget.floor)
