"""The channel: the interface of ``grpc.aio.Channel``, one for every service and every stub."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from grpc import ChannelConnectivity, aio

from seawall.call import Call, Method
from seawall.context import current_options, inbound
from seawall.policy.config import MethodPolicy
from seawall.policy.deadline import deadline_of
from seawall.policy.plan import Handler
from seawall.transport.discovery import Discovery
from seawall.transport.driver import Driver
from seawall.transport.limits import Limits
from seawall.transport.requests import RequestStream
from seawall.transport.streams import StreamStreamCall, UnaryStreamCall
from seawall.transport.translate import MetadataLike, checked_metadata
from seawall.transport.unary import StreamUnaryCall, UnaryUnaryCall

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """How calls of one method are handled."""

    method: Method
    policy: MethodPolicy
    handler: Handler
    discovery: Discovery


class Router(Protocol):
    """Puts the parts of a route together, and takes them apart in the end."""

    def route(self, path: str, *, request_streaming: bool, response_streaming: bool) -> Route: ...

    @property
    def discoveries(self) -> Iterable[Discovery]: ...

    async def close(self) -> None: ...


class Channel(aio.Channel):
    """Calls any instance of any service that the registry knows. Made by ``seawall.connect()``.

    It is used within ``async with``, or closed by ``close()``, on the event loop that it was
    first used on.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._active: set[Driver] = set()
        self._streams: weakref.WeakSet[Driver] = weakref.WeakSet()
        self._limits: Limits | None = None
        self._closed = False

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def discoveries(self) -> list[Discovery]:
        """What is watched: a service for each that has a stub on this channel."""
        return list(self._router.discoveries)

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, give those under way ``grace`` seconds (None = none), then cancel
        them and close every connection."""
        if self._closed:
            return
        self._closed = True
        under_way = [*self._active, *self._streams]
        if grace and under_way:
            endings = [asyncio.ensure_future(call._ending()) for call in under_way]
            await asyncio.wait(endings, timeout=grace)
            for ending in endings:
                ending.cancel()
        for call in under_way:
            call.cancel()
        await self._router.close()

    def _limits_on(self, loop: asyncio.AbstractEventLoop) -> Limits:
        if self._limits is None:
            self._limits = Limits(loop)
        return self._limits

    def get_state(self, try_to_connect: bool = False) -> ChannelConnectivity:
        """READY if every service that is used has a connected instance."""
        if self._closed:
            return ChannelConnectivity.SHUTDOWN
        groups = []
        for discovery in self._router.discoveries:
            discovery.start()
            groups.append(discovery.group)
        if all(group.ready for group in groups):
            return ChannelConnectivity.READY
        if any(g.resolved and all(e.settled for e in g.endpoints) for g in groups if not g.ready):
            return ChannelConnectivity.TRANSIENT_FAILURE
        return ChannelConnectivity.CONNECTING

    async def wait_for_state_change(self, last_observed_state: ChannelConnectivity) -> None:
        """Return when ``get_state`` would say something else."""
        while self.get_state() is last_observed_state:
            changes = [asyncio.ensure_future(d.change()) for d in self.discoveries]
            try:
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for change in changes:
                    change.cancel()

    async def channel_ready(self) -> None:
        """Return when every service that has a stub on this channel has a connected instance."""
        for discovery in self.discoveries:
            discovery.start()
            await discovery.connected()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        return UnaryUnary(
            self, method, request_serializer, response_deserializer, _registered_method
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        return UnaryStream(
            self, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        return StreamUnary(
            self, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        return StreamStream(
            self, method, request_serializer, response_deserializer, _registered_method
        )


_NO_ARGUMENTS: dict[str, Any] = {}


class _Bound:
    """A method of the channel: what all four arities share."""

    request_streaming = False
    response_streaming = False
    arity = ""

    def __init__(
        self,
        channel: Channel,
        path: str,
        serializer: Serializer | None,
        deserializer: Deserializer | None,
        registered: bool | None,
    ) -> None:
        self._channel = channel
        self._serialize = serializer or _as_it_is
        self._deserializer = deserializer
        self._registered = registered
        self._path = path
        self.loop = asyncio.get_running_loop()
        self.limits = channel._limits_on(self.loop)
        self.active = channel._active
        self._route = channel._router.route(
            path,
            request_streaming=self.request_streaming,
            response_streaming=self.response_streaming,
        )
        self._route.discovery.start()

    def bind(self, channel: aio.Channel) -> Callable[..., Any]:
        """This method on one instance's own channel; requests come serialized."""
        make: Callable[..., Any] = getattr(channel, self.arity)
        bound: Callable[..., Any] = make(
            self._path,
            response_deserializer=self._deserializer,
            _registered_method=self._registered,
        )
        return bound

    def _facts(
        self,
        timeout: float | None,
        metadata: MetadataLike | None,
        wait_for_ready: bool | None,
        credentials: grpc.CallCredentials | None,
        compression: grpc.Compression | None,
    ) -> tuple[Any, ...]:
        """What a driver needs: itself bound, the call, its plan, and what goes to gRPC."""
        if self._channel._closed:
            raise aio.UsageError("the channel is closed")
        route = self._route
        method, policy = route.method, route.policy
        now = time.monotonic()
        served = inbound.get()
        deadline = deadline_of(
            now,
            timeout,
            policy.timeout,
            None if served is None else served.deadline,
            streaming=method.streaming,
        )
        call = Call(method, now, deadline)
        call.options = current_options.get()
        if wait_for_ready is None:
            wait_for_ready = policy.wait_for_ready
        call.wait_for_ready = bool(wait_for_ready)
        arguments = _NO_ARGUMENTS
        if credentials is not None or compression is not None:
            arguments = {"credentials": credentials, "compression": compression}
        items = checked_metadata(metadata) if metadata else ()
        return self, call, route.handler(call), route.discovery, arguments, items


def _as_it_is(message: Any) -> bytes:
    return bytes(message)


class UnaryUnary(_Bound, aio.UnaryUnaryMultiCallable[Any, Any]):
    arity = "unary_unary"

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryUnaryCall:
        facts = self._facts(timeout, metadata, wait_for_ready, credentials, compression)
        driver = UnaryUnaryCall(self._serialize(request), *facts)
        self.active.add(driver)
        driver._step(None)
        return driver


class StreamUnary(_Bound, aio.StreamUnaryMultiCallable[Any, Any]):
    arity = "stream_unary"
    request_streaming = True

    def __call__(
        self,
        request_iterator: AsyncIterable[Any] | Iterable[Any] | None = None,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamUnaryCall:
        facts = self._facts(timeout, metadata, wait_for_ready, credentials, compression)
        driver = StreamUnaryCall(RequestStream(self._serialize, request_iterator), *facts)
        self.active.add(driver)
        driver._step(None)
        return driver


class UnaryStream(_Bound, aio.UnaryStreamMultiCallable[Any, Any]):
    arity = "unary_stream"
    response_streaming = True

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryStreamCall:
        facts = self._facts(timeout, metadata, wait_for_ready, credentials, compression)
        driver = UnaryStreamCall(self._serialize(request), *facts)
        self._channel._streams.add(driver)
        driver._step(None)
        return driver


class StreamStream(_Bound, aio.StreamStreamMultiCallable[Any, Any]):
    arity = "stream_stream"
    request_streaming = True
    response_streaming = True

    def __call__(
        self,
        request_iterator: AsyncIterable[Any] | Iterable[Any] | None = None,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamStreamCall:
        facts = self._facts(timeout, metadata, wait_for_ready, credentials, compression)
        driver = StreamStreamCall(RequestStream(self._serialize, request_iterator), *facts)
        self._channel._streams.add(driver)
        driver._step(None)
        return driver
