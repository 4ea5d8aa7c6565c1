"""The rows of the comparison: what each one is, and the budget it has. Imports no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["client", "server"]
ENDPOINTS: Final = 3
"""Echo servers that the rows with a balancer spread over."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured, in a process of its own."""

    name: str
    side: Side
    kind: str
    """What the process builds: see ``clients`` and ``servers``."""
    what: str
    sampling: float | None = None
    """Share of calls that are traced by the OpenTelemetry SDK; None = no SDK is set up."""
    budget: float | None = None
    """The most CPU that DESIGN.md allows, as a multiple of the side's base row."""
    over: Literal["tcp", "unix"] = "tcp"
    """What a client row's calls go over."""
    endpoints: int = 1
    """How many echo servers a client row's calls must reach."""


BASE: Final[dict[Side, str]] = {"client": "bare", "server": "server-bare"}
"""The row that each side's ratios are taken against."""

IMPORT: Final = "import"
IMPORT_BUDGET: Final = 1.30

ROWS: Final = (
    Row("bare", "client", "bare", "grpc.aio stub, one endpoint"),
    Row("bare-again", "client", "bare", "the same once more: what the method can't tell apart"),
    Row(
        "round-robin", "client", "round-robin",
        "grpc.aio, service config: round_robin, retries; 3 endpoints", endpoints=ENDPOINTS,
    ),
    Row("interceptors", "client", "interceptors", "grpc.aio with five no-op interceptors"),
    Row("otel-unsampled", "client", "otel", "OpenTelemetry instrumentation, no call traced", 0.0),
    Row("otel-always", "client", "otel", "OpenTelemetry instrumentation, every call traced", 1.0),
    Row("seawall-one", "client", "seawall-one", "seawall, no SDK; 1 endpoint"),
    Row(
        "seawall", "client", "seawall",
        "seawall, no SDK; 3 endpoints", None, 1.10, endpoints=ENDPOINTS,
    ),
    Row(
        "seawall-1pct", "client", "seawall",
        "seawall, 1 % of calls traced; 3 endpoints", 0.01, 1.10, endpoints=ENDPOINTS,
    ),
    Row(
        "seawall-full", "client", "seawall-metrics",
        "seawall, metrics, 1 % of calls traced; 3 endpoints", 0.01, 1.10, endpoints=ENDPOINTS,
    ),
    Row(
        "seawall-always", "client", "seawall",
        "seawall, every call traced; 3 endpoints", 1.0, 1.25, endpoints=ENDPOINTS,
    ),
    Row("bare-unix", "client", "bare-unix", "grpc.aio stub over a Unix socket", over="unix"),
    Row(
        "seawall-unix", "client", "seawall-unix",
        "seawall over Unix sockets, no SDK; 3 endpoints", None, 1.00, "unix", ENDPOINTS,
    ),
    Row("server-bare", "server", "bare", "grpc.aio server"),
    Row("server-bare-again", "server", "bare", "the same once more"),
    Row("server-otel-always", "server", "otel", "OpenTelemetry instrumentation, all traced", 1.0),
    Row("server-seawall", "server", "seawall", "seawall, no SDK", None, 1.10),
    Row("server-seawall-1pct", "server", "seawall", "seawall, 1 % of calls traced", 0.01, 1.10),
    Row(
        "server-seawall-full", "server", "seawall-metrics",
        "seawall, metrics, 1 % of calls traced", 0.01, 1.10,
    ),
    Row("server-seawall-always", "server", "seawall", "seawall, every call traced", 1.0),
)  # fmt: skip
BY_NAME: Final = {row.name: row for row in ROWS}
NAMES: Final = (*BY_NAME, IMPORT)


def chosen(only: str | None) -> tuple[tuple[Row, ...], bool]:
    """The rows that ``--only a,b`` asks for, with their base rows, and whether imports are timed.

    Raises ``ValueError`` for a name that isn't a row's.
    """
    if only is None:
        return ROWS, True
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        problem = f"no row is named {', '.join(unknown)}" if unknown else "no row is named"
        raise ValueError(f"{problem}; the rows are {', '.join(NAMES)}")
    sides = {BY_NAME[name].side for name in names if name in BY_NAME}
    wanted = {*names, *(BASE[side] for side in sides)}
    return tuple(row for row in ROWS if row.name in wanted), IMPORT in wanted
