"""The channel: the interface of ``grpc.aio.Channel``, one for every service and every stub."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from grpc import ChannelConnectivity, aio

from seawall.transport.batches import free_all
from seawall.transport.discovery import Discovery
from seawall.transport.limits import Limits
from seawall.transport.methods import (
    Bound,
    Deserializer,
    Route,
    Serializer,
    StreamStream,
    StreamUnary,
    UnaryStream,
    UnaryUnary,
)
from seawall.transport.rpc import Rpc
from seawall.transport.state import state_of

AnyBound = TypeVar("AnyBound", bound=Bound)


class Router(Protocol):
    """Puts the parts of a route together, and takes them apart in the end."""

    changed: Callable[[], None]

    def route(self, path: str, *, request_streaming: bool, response_streaming: bool) -> Route: ...

    def follow_config(self, service: str) -> None: ...

    @property
    def discoveries(self) -> Iterable[Discovery]: ...

    async def close(self) -> None: ...


class Channel(aio.Channel):
    """Calls any instance of any service that the registry knows. Made by ``seawall.connect()``.

    It is used within ``async with``, or closed by ``close()``, on the event loop that it was
    first used on.
    """

    def __init__(self, router: Router) -> None:
        free_all()
        self.router = router
        self.active: set[Rpc] = set()
        """Unary calls under way."""
        self.streams: weakref.WeakSet[Rpc] = weakref.WeakSet()
        """Streaming calls; weakly, so that one that was dropped half read can be collected."""
        self.bounds: weakref.WeakSet[Bound] = weakref.WeakSet()
        """The methods that stubs have asked for."""
        router.changed = self._reroute
        self.closed = False
        self._closing: asyncio.Task[None] | None = None
        self._limits: Limits | None = None
        self._methods: dict[Any, Bound] = {}

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def discoveries(self) -> list[Discovery]:
        """What is watched: a service for each that has a stub on this channel."""
        return list(self.router.discoveries)

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, give those under way ``grace`` seconds (None = none), then cancel
        them and close every connection. Called again, it waits for the same end."""
        if self._closing is None:
            self.closed = True
            self._closing = asyncio.create_task(self._close(grace))
        await asyncio.shield(self._closing)

    async def _close(self, grace: float | None) -> None:
        under_way = [*self.active, *self.streams]
        if grace and under_way:
            endings = [asyncio.ensure_future(call._ending()) for call in under_way]
            await asyncio.wait(endings, timeout=grace)
            for ending in endings:
                ending.cancel()
        for call in under_way:
            call.cancel()
        await self.router.close()

    def get_state(self, try_to_connect: bool = False) -> ChannelConnectivity:
        """READY if every service that is used has a connected instance."""
        if self.closed:
            return ChannelConnectivity.SHUTDOWN
        return state_of([discovery.group for discovery in self.router.discoveries])

    async def wait_for_state_change(self, last_observed_state: ChannelConnectivity) -> None:
        """Return when ``get_state`` would say something else."""
        while self.get_state() is last_observed_state:
            if not self.discoveries:
                raise aio.UsageError("the channel has no stub yet, so nothing it could watch")
            changes = [asyncio.ensure_future(d.change()) for d in self.discoveries]
            try:
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for change in changes:
                    change.cancel()

    async def channel_ready(self) -> None:
        """Return when every service that has a stub on this channel has a connected instance."""
        while (state := self.get_state()) is not ChannelConnectivity.READY:
            if state is ChannelConnectivity.SHUTDOWN:
                raise aio.UsageError("the channel is closed")
            await self.wait_for_state_change(state)

    def _reroute(self) -> None:
        for bound in self.bounds:
            bound.reroute()

    def limits_on(self, loop: asyncio.AbstractEventLoop) -> Limits:
        if self._limits is None:
            self._limits = Limits(loop)
        return self._limits

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        return self._method(
            UnaryUnary, method, request_serializer, response_deserializer, _registered_method
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        return self._method(
            UnaryStream, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        return self._method(
            StreamUnary, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        return self._method(
            StreamStream, method, request_serializer, response_deserializer, _registered_method
        )

    def _method(self, kind: type[AnyBound], path: str, *facts: Any) -> AnyBound:
        """One object for a method, however many stubs are made: connections keep it."""
        if self.closed:
            raise aio.UsageError("the channel is closed")
        key = (kind, path, *facts)
        try:
            known = self._methods.get(key)
        except TypeError:  # a serializer that can't be hashed
            return kind(self, path, *facts)
        if not isinstance(known, kind):
            known = self._methods[key] = kind(self, path, *facts)
        return known
