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
from seawall.statuses import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    StatusError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from seawall.transport.translate import CallError

__version__ = "0.1.0"

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Attempt",
    "BulkheadFull",
    "Call",
    "CallError",
    "Cancelled",
    "CircuitOpen",
    "ConfigError",
    "DataLoss",
    "DeadlineExceeded",
    "DeadlinePassed",
    "FailedPrecondition",
    "Failure",
    "Instance",
    "Internal",
    "InvalidArgument",
    "NoEndpoints",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "RateLimited",
    "Refused",
    "RegistryError",
    "RegistryUnavailable",
    "ResourceExhausted",
    "SeawallError",
    "Service",
    "ServiceError",
    "StatusError",
    "Throttled",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "client",
    "connect",
    "options",
]
