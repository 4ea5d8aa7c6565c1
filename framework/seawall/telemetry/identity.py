"""Who this process is, for whoever reads what it tells: logs and metrics of many in one place."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field


def _made_up() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(slots=True)
class Identity:
    """Names of the process; a server fills them in when it starts."""

    service: str = ""
    """The name of the first class that it serves, in lower case; OTEL_SERVICE_NAME wins. Empty = it
    serves nothing."""
    instance: str = field(default_factory=_made_up)
    """The id under which the registry has it; until it has, host and process id."""
    version: str = ""

    @property
    def name(self) -> str:
        """What the process is called."""
        return os.environ.get("OTEL_SERVICE_NAME") or self.service

    def attributes(self) -> dict[str, str]:
        """By the names of OpenTelemetry's semantic conventions."""
        facts = {
            "service.name": self.name,
            "service.instance.id": self.instance,
            "service.version": self.version,
        }
        return {name: fact for name, fact in facts.items() if fact}


identity = Identity()
