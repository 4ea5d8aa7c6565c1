"""What a supervisor and a worker say to each other, over a pair of sockets that only they have.

Each message is a line of JSON. The supervisor sends one, the job, and then nothing; when its end
closes, it is dead, however it died. The worker tells when it serves and when it leaves.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

MODULE: Final = "seawall.server.workers.worker"
"""What a worker runs: ``python -m MODULE FD ...``."""
LIVENESS: Final = "seawall.liveness"
"""The name in the health protocol that is SERVING while a server's event loop turns."""
LONGEST: Final = 1 << 20
"""Bytes of a line."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker must know. ``settings`` go to the service classes."""

    number: int
    targets: tuple[str, ...]
    """The services, each ``module:Class``."""
    settings: dict[str, Any]
    path: tuple[str, ...] = ()
    """``sys.path``, so that modules are found as by who started the supervisor."""
    loop: str = ""
    directory: str = ""
    """The supervisor's own, for sockets. If it has died, who leaves last removes it."""
    health: str = ""
    """The gRPC target at which the worker's life can be asked for."""

    def encode(self) -> bytes:
        """As a line. Raises ``TypeError`` for a setting that is no JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Job:
        fields: dict[str, Any] = json.loads(line)
        tuples = {name: tuple(fields[name]) for name in ("targets", "path")}
        return cls(**{**fields, **tuples})


def serving(address: str, stop_within: float) -> bytes:
    """The worker serves, and may take so many seconds to leave."""
    return json.dumps({"serving": address, "stop_within": stop_within}).encode() + b"\n"


LEAVING: Final = b'{"leaving": true}\n'
