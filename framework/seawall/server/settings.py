"""How a process serves: keyword arguments over environment over defaults."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from seawall.call import JSON, LEAST_WEIGHT, MOST_WEIGHT, PAUSED, WEIGHT
from seawall.errors import ConfigError
from seawall.events import Listener
from seawall.records import Record
from seawall.registry.base import Registry
from seawall.server.listening.ports import check_listening
from seawall.server.readiness.standing import WAITS_FOR
from seawall.telemetry.log import log_event
from seawall.transport.keepalive import MAX_MESSAGE, PERMITTED, SERVER_PERMITS_MS
from seawall.transport.same_host import HOST, SOCKET

GRACE: Final = 10.0
BLOCKED_AFTER: Final = 0.25
"""Seconds after which a loop that does not turn counts as blocked. A caller that waits longer than
that for a handler that would be done at once has noticed; collections of garbage and the import of
a small module stay below."""
SETTLE: Final = 0.3
MOST_THREADS: Final = 1000


class Settings(Record):
    """Everything that can be said about how services are served. All have defaults."""

    registry: str | Registry | None = None
    """URL. Environment SEAWALL_REGISTRY, else ``local://``."""
    host: str | None = None
    """Interface to listen on. SEAWALL_HOST, else loopback if only this machine can see the
    registry, else all."""
    port: int | None = None
    """SEAWALL_PORT, else 0: a free one."""
    advertise: str | None = None
    """What clients dial, ``host:port`` or ``host``. SEAWALL_ADVERTISE, else this machine's address
    on the way to the registry."""
    grace: float | None = None
    """Seconds that calls under way have to finish at stop. SEAWALL_GRACE, else 10."""
    settle: float | None = None
    """Seconds between leaving the registry and refusing calls, for clients to hear of it. 0.3."""
    version: str | None = None
    """SEAWALL_VERSION, else empty."""
    zone: str | None = None
    """SEAWALL_ZONE, else empty."""
    weight: float = 1.0
    """How much it takes in relation to the others; see ``Service.set_weight`` and ``pause``."""
    labels: Mapping[str, JSON] = MappingProxyType({})
    """Any further facts for the registry."""
    instance_id: str | None = None
    """Unique among the service's instances; made up if not given."""
    service_config: str | os.PathLike[str] | Mapping[str, Any] | None = None
    """For the calls that the service makes itself. SEAWALL_SERVICE_CONFIG (a path), else none."""
    unix_socket: bool | None = None
    """Whether to listen on a Unix socket as well, for callers on this host. SEAWALL_UNIX_SOCKET
    (``on`` or ``off``), else on; but off with ``advertise``, as what that names may be there to be
    passed through."""
    dependency_timeout: float = 5.0
    """Seconds to wait at start for an instance of each ``client(...)`` of the services."""
    max_connection_age: float | None = None
    """Seconds after which a client's connection is replaced by a new one, 10 % more or less, so
    that load spreads over new instances behind a balancer that knows connections only. Calls have
    ``grace`` to end on the old one. None: never; seawall's own clients don't need it."""
    max_concurrency: int | None = None
    """Requests that are worked on at a time; others wait for a moment or are refused. None: as many
    as come, while they need not wait for the event loop. Methods with a limit of their own, and
    ``def`` handlers, don't count."""
    method_limits: Mapping[str, int] = MappingProxyType({})
    """As ``max_concurrency``, for single methods: ``{"shop.v1.Orders/Place": 8}``."""
    threads: int | None = None
    """For ``def`` handlers, which are worked on that many at a time. SEAWALL_THREADS, else the
    cores and 4, 32 at most."""
    max_message_bytes: int | None = None
    """Bytes of the largest request message that is taken, decompressed; larger ones are refused
    with RESOURCE_EXHAUSTED. SEAWALL_MAX_MESSAGE, else 4 MiB, gRPC's own."""
    shedding: bool | None = None
    """Whether requests are refused, the least critical first, while they have to wait longer for
    the event loop than 20 ms. SEAWALL_SHEDDING (``on`` or ``off``), else on."""
    metrics_address: str | None = None
    """``host:port`` at which Prometheus fetches the metrics. SEAWALL_METRICS, else nowhere."""
    access_log: str | None = None
    """Which calls are logged: ``on`` (each), ``errors`` (those that fail by the server's fault) or
    ``off``. SEAWALL_ACCESS_LOG, else off."""
    health_address: str | None = None
    """Where health is answered beside the event loop as well, also while that is blocked:
    ``host:port`` or ``unix:/path``. SEAWALL_HEALTH, else nowhere."""
    blocked_after: float = BLOCKED_AFTER
    """Seconds, 0.25 by default, after which an event loop that does not turn is said to be blocked:
    in the log, with what blocks it, and by the health of ``health_address``."""
    listener: Listener = log_event
    """Told what changes; default: the log."""

    def resolved(self) -> Settings:
        """With the environment and the defaults filled in. Raises ``ConfigError``."""
        port = _number("SEAWALL_PORT", self.port, 0, whole=True)
        if not 0 <= port <= 65535:
            raise ConfigError("port", f"must be between 0 and 65535, not {port}")
        grace = _number("SEAWALL_GRACE", self.grace, GRACE)
        settle = SETTLE if self.settle is None else self.settle
        if not (0 <= grace < math.inf and 0 <= settle < math.inf):
            raise ConfigError("grace", "grace and settle are seconds: numbers from 0 on")
        age = self.max_connection_age
        if age is not None and not 0.1 <= age < math.inf:
            raise ConfigError("max_connection_age", f"must be seconds, 0.1 or more, not {age!r}")
        _check_limits(self.max_concurrency, self.method_limits)
        threads = _number("SEAWALL_THREADS", self.threads, default_threads(), whole=True)
        if not 1 <= threads <= MOST_THREADS:
            raise ConfigError("threads", f"must be between 1 and {MOST_THREADS}, not {threads}")
        largest = _number("SEAWALL_MAX_MESSAGE", self.max_message_bytes, MAX_MESSAGE, whole=True)
        if not 1 <= largest < 2**31:
            raise ConfigError(
                "max_message_bytes", f"must be bytes, from 1 to {2**31 - 1}, not {largest}"
            )
        if not 0.01 <= self.blocked_after < math.inf:
            raise ConfigError("blocked_after", "must be seconds, 0.01 at the least")
        health_address = self.health_address or os.environ.get("SEAWALL_HEALTH") or None
        if health_address is not None:
            check_listening("health_address", health_address)
        checked_weight(self.weight)
        check_labels(self.labels)
        advertise = self.advertise or os.environ.get("SEAWALL_ADVERTISE")
        changed = {
            "host": self.host or os.environ.get("SEAWALL_HOST"),
            "port": int(port),
            "advertise": advertise,
            "health_address": health_address,
            "metrics_address": _metrics_address(self.metrics_address),
            "access_log": _access_log(self.access_log),
            "unix_socket": _switch("SEAWALL_UNIX_SOCKET", self.unix_socket, not advertise),
            "threads": int(threads),
            "max_message_bytes": int(largest),
            "shedding": _switch("SEAWALL_SHEDDING", self.shedding, True),
            "grace": grace,
            "settle": settle,
            "version": self.version or os.environ.get("SEAWALL_VERSION", ""),
            "zone": self.zone or os.environ.get("SEAWALL_ZONE", ""),
        }
        return self.changed(**changed)

    def metadata(self) -> dict[str, JSON]:
        """The facts that the registry announces, less where it runs (``unix_socket.facts_of``)."""
        return {
            **self.labels,
            "version": self.version or "",
            "zone": self.zone or "",
            WEIGHT: self.weight,
            "started_at": round(time.time(), 3),
            "protocol": "grpc",
            PERMITTED: SERVER_PERMITS_MS,
        }


OWN_FACTS: Final = frozenset(Settings().metadata()) | {PAUSED, WAITS_FOR, HOST, SOCKET, "id"}
"""What an instance's facts may not be called by its user."""


def check_labels(labels: Mapping[str, object]) -> None:
    """Raise ``ConfigError`` for a label that has the name of one of the framework's own facts."""
    for name in sorted(OWN_FACTS & labels.keys()):
        raise ConfigError("labels", f"{name!r} is no label: the framework announces it itself")


def checked_weight(weight: object) -> float:
    """``weight``, if it is one. Raises ``ConfigError``."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (number and LEAST_WEIGHT <= weight <= MOST_WEIGHT):  # type: ignore[operator]
        mend = "; to take no calls at all, pause()" if weight == 0 else ""
        limits = f"from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
        raise ConfigError("weight", f"must be a number {limits}, not {weight!r}{mend}")
    return weight  # type: ignore[return-value]


def default_threads() -> int:
    """As many as Python's own pools have."""
    return min(32, (os.cpu_count() or 1) + 4)


def _check_limits(limit: object, limits: Mapping[str, object]) -> None:
    for name, value in {"max_concurrency": limit, **limits}.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and value >= 1):  # type: ignore[operator]
            raise ConfigError(name, f"must be a whole number from 1 on, not {value!r}")


def _metrics_address(given: str | None) -> str | None:
    address = given or os.environ.get("SEAWALL_METRICS", "").strip() or None
    if address is not None:
        from seawall.telemetry.endpoint import parse_address

        parse_address(address)
    return address


def _access_log(given: str | None) -> str:
    name = "SEAWALL_ACCESS_LOG" if given is None else "access_log"
    mode = os.environ.get(name, "").strip() or "off" if given is None else given
    if mode == "off":
        return mode
    from seawall.telemetry.access_log import checked_mode

    return checked_mode(name, mode)


def _switch(variable: str, given: bool | None, default: bool) -> bool:
    if given is not None:
        if not isinstance(given, bool):
            name = variable.removeprefix("SEAWALL_").lower()
            raise ConfigError(name, f"must be True or False, not {given!r}")
        return given
    text = os.environ.get(variable, "").strip().lower()
    if text not in ("", "on", "off"):
        raise ConfigError(variable, f"must be on or off, not {text!r}")
    return text == "on" if text else default


def _number(variable: str, given: float | None, default: float, *, whole: bool = False) -> float:
    if given is not None:
        return given
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise ConfigError(variable, f"must be a number, not {text!r}") from None
