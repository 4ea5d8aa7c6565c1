"""Span and attribute names, in one place: the RPC conventions are not stable yet.

From OpenTelemetry's semantic conventions 1.44 (RPC: release candidate) and gRFC A72.
"""

from typing import Final

from grpc import StatusCode

RPC_SYSTEM: Final = "rpc.system.name"
GRPC: Final = "grpc"
RPC_METHOD: Final = "rpc.method"
STATUS_CODE: Final = "rpc.response.status_code"  # "rpc.status_code" after 1.44
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"

ATTEMPT_PREFIX: Final = "Attempt."  # gRFC A72; the conventions define no span for an attempt
PREVIOUS_ATTEMPTS: Final = "previous-rpc-attempts"  # gRFC A72
ATTEMPT: Final = "seawall.attempt"
ENDPOINT: Final = "seawall.endpoint"
FALLBACK: Final = "seawall.fallback"
FALLBACKS: Final = "seawall.client.fallbacks"

SERVER_ERRORS: Final = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""The codes that make a *server* span an error; on a client's span any code but OK does."""
