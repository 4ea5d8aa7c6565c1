"""What stands in etcd: services and instances as a fleet would register them."""

from __future__ import annotations

import time
from typing import Any

from seawall.call import Instance
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.etcd.url import parse

AT = "at"
"""The fact that says when an entry was written, on the machine's monotonic clock."""


def service(number: int) -> str:
    return f"bench.discovery.Service{number:03d}"


def instance(name: str, number: int, **facts: Any) -> Instance:
    """An instance with the facts that a server of seawall's announces."""
    metadata = {
        "version": "1.4.2", "zone": "", "weight": 1.0, "started_at": 1767225600.0,
        "protocol": "grpc", "keepalive_ms": 10_000, **facts,
    }  # fmt: skip
    high, low = divmod(number, 250)
    address = f"10.{high // 250}.{high % 250}.{low + 1}:50051"
    return Instance(name, f"host{number:05d}-50051-{number:08x}", address, metadata)


def stamped(name: str, number: int) -> Instance:
    """An instance whose facts are new: they say that they were written now."""
    return instance(name, number, **{AT: time.monotonic()})


def age(one: Instance) -> float:
    """Seconds since a ``stamped`` instance was made."""
    at = one.metadata[AT]
    assert isinstance(at, float)
    return time.monotonic() - at


def thin_client(url: str) -> Client:
    """The framework's own thin client of etcd, without a registry over it."""
    return Client(parse(url), Outage(EtcdRegistry(url)))
