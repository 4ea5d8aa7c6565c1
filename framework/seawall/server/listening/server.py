"""gRPC's own server: it is given its port, answers there, and lets go of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from seawall.errors import ServiceError
from seawall.server.listening.accepting import GRPC_LOGGERS, make_server, when_it_fails
from seawall.server.listening.ports import why_not_bound
from seawall.server.settings import Settings
from seawall.telemetry.seldom import limit
from seawall.transport.keepalive import server_options

PATIENCE: Final = 1.0
"""Seconds, after the grace, until gRPC is left behind. It waits for callers that don't read to be
told that their calls have ended: until its pings fail, 40 s later."""

_log = logging.getLogger("seawall.server")


class GrpcServer:
    """gRPC's server of this process, which takes up to ``connections`` at a time; None = any
    number."""

    def __init__(
        self,
        settings: Settings,
        pool: ThreadPoolExecutor,
        connections: int | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        """``failed`` is called if it takes no more calls although nobody has stopped it."""
        options = server_options(
            settings.max_connection_age, settings.grace, settings.max_message_bytes, connections
        )
        limit(*GRPC_LOGGERS)
        self.inner: Any = make_server(pool, options)
        """gRPC's own object."""
        when_it_fails(self.inner, failed)
        self._answering = False
        self._parting: asyncio.Task[None] | None = None

    def bind(self, host: str, port: int) -> int:
        """Take ``port``; returns the one that it is, where 0 asked for a free one. Raises
        ``ServiceError`` if it can't be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return int(self.inner.add_insecure_port(address))
        except RuntimeError:
            mend = "set another port (port=, --port, SEAWALL_PORT), or 0 for a free one"
            raise ServiceError(why_not_bound(host, port, mend)) from None

    async def start(self) -> None:
        """Answer."""
        await self.inner.start()
        self._answering = True

    async def close(self) -> None:
        """Let go of the port; it may never have answered."""
        if not self._answering:
            await self.inner.start()  # gRPC lets go of a port only by stopping what was started
        await self.part(0.0)

    async def part(self, grace: float) -> None:
        """Stop answering: after ``grace`` at the latest, and once."""
        if self._parting is not None:
            return
        self._parting = asyncio.create_task(self.inner.stop(grace or None))
        done, _ = await asyncio.wait((self._parting,), timeout=grace + PATIENCE)
        if not done:
            _log.warning("left while a caller still took nothing of what it had asked for")
        for stopped in done:
            stopped.result()
