"""How long a request waits before its handler begins: measured by sending one now and then.

A Python handler can't see it: what waits lies in gRPC's core until the event loop takes it, one
request at a time (seen with 1.85: an overloaded loop itself stays quick, as it takes no more than
it can do). Each method has a queue of its own there. So a request of the server's own goes the same
way as others do, to the method that has most of them; it ends where they would be admitted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from grpc import aio

from seawall.admission.measuring import Line, Measuring
from seawall.clock import Clock

PROBE: Final = ("seawall-probe", os.urandom(16).hex())
"""The metadata that says of a request that it is this process's own."""

_PATIENCE: Final = 5.0
"""Seconds until a probe is given up; it has told what it could by then."""

_log = logging.getLogger("seawall.server")


class Probe:
    """Sends requests to its own server, one at a time."""

    def __init__(self, measuring: Measuring, clock: Clock) -> None:
        self._measuring = measuring
        self._clock = clock
        self._channel: aio.Channel | None = None
        self._call: asyncio.Task[None] | None = None

    def open(self, address: str) -> None:
        """The server answers at ``address``."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self._channel = aio.insecure_channel(address, options=options)

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()

    def send(self, line: Line) -> None:
        """Send a request to the method at ``line``, unless one is under way."""
        if self._call is not None or self._channel is None:
            return
        self._measuring.sent(line, self._clock())
        self._call = asyncio.create_task(self._send(self._channel, line.path))

    async def _send(self, channel: aio.Channel, path: str) -> None:
        ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        try:
            await ask(b"", timeout=_PATIENCE, metadata=(PROBE,))
        except aio.AioRpcError as error:
            if self._measuring.lost():  # it was not the queue that it failed at
                _log.debug("no answer from this server's own port: %s", error.details())
        finally:
            self._call = None
