"""Makes an instance ill on command, so that the demo can show what its callers make of it.

Every service of the shop is a ``Chaos`` too: it serves ``shop.v1.Chaos`` beside its own service,
and its handlers do their simulated work through ``work``.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, TypeAlias

import grpc
import grpc.aio

from services.pb.chaos_pb2 import Fault
from services.pb.chaos_pb2_grpc import ChaosServicer

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""What gRPC hands to a handler beside the request."""

_HEALTHY = Fault(slowness=1)


class Chaos(ChaosServicer):
    """Mixed into a service, before ``Service``."""

    fault: Fault = _HEALTHY

    async def Set(self, request: Fault, context: Context) -> Fault:
        self.fault = request
        return request

    async def work(self, context: Context, seconds: float) -> None:
        """Take about ``seconds``, as a database would; or be as ill as ``Set`` said."""
        if self.fault.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "out of order (the demo said so)")
        await asyncio.sleep(seconds * random.uniform(0.7, 1.3) * (self.fault.slowness or 1))
