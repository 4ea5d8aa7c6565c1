"""Echo services on an event loop in a thread, driven from sync code; and waiting for things."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

from tests.echo import EchoService

LIMIT = 15.0
"""Seconds within which everything that is waited for must have happened."""


class Servers:
    """Starts ``EchoService`` instances under one registry; all are stopped at the end."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-servers")
        self._running: list[EchoService] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine on the servers' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def start(self, kind: type[EchoService] = EchoService, **settings: Any) -> EchoService:
        service = self.run(self._start(kind, settings))
        self._running.append(service)
        return service

    def stop(self, service: EchoService) -> None:
        self._running.remove(service)
        self.run(service.stop())

    def happened(self, event: asyncio.Event) -> None:
        """Wait for an event of the servers'."""
        self.run(asyncio.wait_for(event.wait(), LIMIT))

    def event(self) -> asyncio.Event:
        async def make() -> asyncio.Event:
            return asyncio.Event()

        return self.run(make())

    def set(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)

    async def _start(self, kind: type[EchoService], settings: dict[str, Any]) -> EchoService:
        service = kind(registry=self._registry, **settings)
        await service.start()
        return service

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in tuple(self._running):
            self.stop(service)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that has no event of its own."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.005)


def connected(channel: Any, count: int) -> None:
    """Wait until so many instances of the first service can be called."""
    until(lambda: channel.discoveries and len(channel.discoveries[0].group.ready) == count)


class Caller:
    """Calls something on a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test-caller")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    def join(self, limit: float = LIMIT) -> Any:
        """What it returned. Raises what it raised."""
        self._thread.join(limit)
        assert not self._thread.is_alive(), "it has not come back"
        if self.error is not None:
            raise self.error
        return self.result
