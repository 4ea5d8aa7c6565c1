"""gRPC services in Python that keep answering when what they depend on does not."""

from seawall.assembly import connect
from seawall.call import Attempt, Call, Failure, Instance
from seawall.context import options
from seawall.errors import (
    BulkheadFull,
    CircuitOpen,
    ConfigError,
    DeadlinePassed,
    NoEndpoints,
    RateLimited,
    Refused,
    RegistryError,
    RegistryUnavailable,
    SeawallError,
    ServiceError,
    Throttled,
)
from seawall.server import Service, client
from seawall.transport.translate import CallError

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "BulkheadFull",
    "Call",
    "CallError",
    "CircuitOpen",
    "ConfigError",
    "DeadlinePassed",
    "Failure",
    "Instance",
    "NoEndpoints",
    "RateLimited",
    "Refused",
    "RegistryError",
    "RegistryUnavailable",
    "SeawallError",
    "Service",
    "ServiceError",
    "Throttled",
    "client",
    "connect",
    "options",
]
