"""Unix sockets that misbehave on request, and who called over which way."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Self

from seawall.transport import same_host
from tests.echo import EchoService


class Peers:
    """Notes how each call came to these services: ``unix`` or ``ipv4``."""

    def __init__(self, *services: EchoService) -> None:
        self.seen: list[str] = []
        for service in services:
            service.hook = self._note

    async def _note(self, name: str, context: Any) -> None:
        self.seen.append(context.peer().partition(":")[0])


class Relay:
    """A Unix socket in ``directory`` in front of a TCP port. With ``mute`` it takes connections
    and says nothing, as a frozen server does."""

    def __init__(self, directory: Path, port: int, *, mute: bool = False) -> None:
        self.path = directory / same_host.new_name()
        self.accepted = 0
        self.mute = mute
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def facts(self) -> dict[str, Any]:
        """What an instance behind it would announce."""
        return {same_host.HOST: same_host.host_id(), same_host.SOCKET: str(self.path)}

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Break what is connected and refuse what comes; the path stays, as after kill -9."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # aborted writers tell their readers

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self.path.unlink(missing_ok=True)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(back)
        try:
            if self.mute:
                await near.read()
                return
            far, out = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(out)
            await asyncio.gather(_pump(near, out), _pump(far, back))
        finally:
            back.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
