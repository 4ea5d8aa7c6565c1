"""How the services that a channel calls are at this moment, and the registry that it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from seawall.call import Endpoint
from seawall.pipeline import Pipeline
from seawall.policy.breaker import State
from seawall.registry.base import Registry
from seawall.telemetry.catalogue import (
    ENDPOINTS,
    INSTANCES,
    OUTSTANDING,
    REGISTRY_AVAILABLE,
    REGISTRY_LEASE,
    RETRY_BUDGET,
)
from seawall.telemetry.store import Reading

READY: Final = "ready"
_OF_BREAKER: Final = {State.CLOSED: READY, State.OPEN: "open", State.HALF_OPEN: "half_open"}
STATES: Final = ("connecting", "unreachable", "paused", "ejected", *_OF_BREAKER.values())
"""An endpoint is in one of them: the first that applies."""


def readings_of(pipelines: Iterable[Pipeline]) -> Iterator[Reading]:
    """What there is to say of each service."""
    for pipeline in pipelines:
        group, service = pipeline.group, pipeline.service
        endpoints = group.endpoints
        count = Counter(state_of(endpoint) for endpoint in endpoints)
        for state in STATES:
            yield ENDPOINTS, (service, state), count[state]
        yield INSTANCES, (service,), len(group)
        yield OUTSTANDING, (service,), sum(endpoint.outstanding for endpoint in endpoints)
        yield RETRY_BUDGET, (service,), pipeline.retries_left


def state_of(endpoint: Endpoint) -> str:
    """One word of ``STATES``."""
    if not endpoint.ready:
        return "unreachable" if endpoint.settled else "connecting"
    if endpoint.paused:
        return "paused"
    if endpoint.ejected:
        return "ejected"
    return _OF_BREAKER[endpoint.breaker.state]


def readings_of_registry(registry: Registry) -> Iterator[Reading]:
    """Whether it is there, and holds what this process has announced."""
    kind = registry.url.partition(":")[0] or type(registry).__name__
    yield REGISTRY_AVAILABLE, (kind,), registry.problem is None
    held = registry.holds_lease()
    if held is not None:
        yield REGISTRY_LEASE, (kind,), held
