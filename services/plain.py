"""The other world of the demo: the same stubs on native gRPC channels, as a careful team sets
them up by hand. A call that came in from that world goes on in it, so both are compared whole.
"""

from __future__ import annotations

import functools
import json
import os
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import grpc.aio

Stub = TypeVar("Stub")

MARK: Final = ("demo-client", "plain")
"""The metadata by which a plain caller is known."""
ADDRESSES: Final = "SHOP_PLAIN_ADDRESSES"
"""Environment: JSON, ``{"InventoryStub": "127.0.0.1:1,127.0.0.1:2", ...}``."""

SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}


def chosen(context: grpc.aio.ServicerContext[Any, Any], stub: Stub) -> Stub:
    """``stub`` itself, or for a call that came from a plain client its plain twin."""
    metadata = context.invocation_metadata() or ()
    return plain(type(stub)) if MARK in tuple(metadata) else stub


def plain(stub: type[Stub]) -> Stub:
    """A stub on a native channel of its own, which marks every call that it makes.

    Raises ``LookupError`` if ``SHOP_PLAIN_ADDRESSES`` does not say where its service is.
    """
    return cast(Stub, made(stub))  # type: ignore[arg-type]  # a class is hashable


@functools.cache
def made(stub: type[Any]) -> Any:
    """What ``plain`` returns; one for each stub, as long as the process lives."""
    addresses: dict[str, str] = json.loads(os.environ.get(ADDRESSES, "{}"))
    if stub.__name__ not in addresses:
        raise LookupError(f"{ADDRESSES} has no addresses for {stub.__name__}")
    channel = grpc.aio.insecure_channel(
        f"ipv4:{addresses[stub.__name__]}",
        options=[("grpc.service_config", json.dumps(SERVICE_CONFIG))],
    )
    calls: dict[str, Any] = vars(stub(channel))
    marked = {name: functools.partial(call, metadata=(MARK,)) for name, call in calls.items()}
    return SimpleNamespace(**marked)
