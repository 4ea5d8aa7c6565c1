"""How a process serves: keyword arguments over environment over defaults."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from seawall.call import JSON, LEAST_WEIGHT, MOST_WEIGHT, PAUSED, WEIGHT
from seawall.errors import ConfigError
from seawall.events import Listener
from seawall.registry.base import Registry
from seawall.telemetry.log import log_event
from seawall.transport.keepalive import PERMITTED, SERVER_PERMITS_MS
from seawall.transport.same_host import HOST, SOCKET

GRACE: Final = 10.0
SETTLE: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Settings:
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
    labels: Mapping[str, JSON] = field(default_factory=dict)
    """Any further facts for the registry."""
    instance_id: str | None = None
    """Unique among the service's instances; made up if not given."""
    service_config: str | Path | Mapping[str, Any] | None = None
    """For the calls that the service makes itself. SEAWALL_SERVICE_CONFIG (a path), else none."""
    unix_socket: bool | None = None
    """Whether to listen on a Unix socket as well, for callers on this host. SEAWALL_UNIX_SOCKET
    (``on`` or ``off``), else on; but off with ``advertise``, as what that names may be there to be
    passed through."""
    dependency_timeout: float = 5.0
    """Seconds to wait at start for an instance of each ``client(...)`` of the services."""
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
        checked_weight(self.weight)
        check_labels(self.labels)
        advertise = self.advertise or os.environ.get("SEAWALL_ADVERTISE")
        changed = {
            "host": self.host or os.environ.get("SEAWALL_HOST"),
            "port": int(port),
            "advertise": advertise,
            "unix_socket": _switch("SEAWALL_UNIX_SOCKET", self.unix_socket, not advertise),
            "grace": grace,
            "settle": settle,
            "version": self.version or os.environ.get("SEAWALL_VERSION", ""),
            "zone": self.zone or os.environ.get("SEAWALL_ZONE", ""),
        }
        return Settings(**{**vars(self), **changed})

    def metadata(self) -> dict[str, JSON]:
        """The facts that the registry announces, less where it runs (``sockets.facts_of``)."""
        return {
            **self.labels,
            "version": self.version or "",
            "zone": self.zone or "",
            WEIGHT: self.weight,
            "started_at": round(time.time(), 3),
            "protocol": "grpc",
            PERMITTED: SERVER_PERMITS_MS,
        }


OWN_FACTS: Final = frozenset(Settings().metadata()) | {PAUSED, HOST, SOCKET, "id"}
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
