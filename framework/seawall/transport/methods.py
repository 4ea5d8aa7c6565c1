"""A stub's methods on the channel: from the arguments of a call to a call under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from seawall.call import Call, Method, Success
from seawall.config import MethodPolicy
from seawall.context import answering, answering_for, inbound, inherit
from seawall.policy.deadline import deadline_of
from seawall.policy.plan import Handler
from seawall.records import Record
from seawall.transport.direct import directly
from seawall.transport.discovery import Discovery
from seawall.transport.streams import StreamStreamCall, UnaryStreamCall
from seawall.transport.translate import MetadataLike, checked_metadata
from seawall.transport.unary import StreamUnaryCall, UnaryUnaryCall

if TYPE_CHECKING:
    from seawall.transport.aio import Channel

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_NO_ARGUMENTS: dict[str, Any] = {}


class Route(Record):
    """How calls of one method are handled."""

    method: Method
    policy: MethodPolicy
    handler: Handler
    discovery: Discovery


class Bound:
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
        self._serialize = serializer or bytes
        self._deserializer = deserializer
        self._registered = registered
        self._path = path
        self.loop = asyncio.get_running_loop()
        self.limits = channel.limits_on(self.loop)
        streaming = self.request_streaming or self.response_streaming
        self.active = channel.streams if streaming else channel.active
        self.reroute()
        self._route.discovery.start()
        channel.router.follow_config(self._route.method.service)
        channel.bounds.add(self)

    def reroute(self) -> None:
        """Have calls handled as the config in force says."""
        channel, path = self._channel, self._path
        self._route = route = channel.router.route(
            path,
            request_streaming=self.request_streaming,
            response_streaming=self.response_streaming,
        )
        fallback = route.policy.fallback
        self._alternative = None if fallback in (None, path) else fallback

    def bind(self, channel: aio.Channel) -> Callable[..., Any]:
        """This method on one instance's own channel; requests come serialized."""
        make: Callable[..., Any] = getattr(channel, self.arity)
        bound: Callable[..., Any] = make(
            self._path,
            response_deserializer=self._deserializer,
            _registered_method=self._registered,
        )
        return bound

    def _call_alternative(
        self, path: str, request: bytes, until: float | None, metadata: MetadataLike | None
    ) -> Any:
        """Call the method that answers if this one fails, with the time that the caller gave."""
        other: Any = self._channel._method(
            type(self), path, None, self._deserializer, self._registered
        )
        timeout = None if until is None else until - time.monotonic()
        with answering_for(self._path):
            call = other(request, timeout=timeout, metadata=metadata)
        return call if self.response_streaming else _outcome_of(call)

    def _facts(
        self,
        request: bytes | None,
        timeout: float | None,
        metadata: MetadataLike | None,
        wait_for_ready: bool | None,
        credentials: grpc.CallCredentials | None,
        compression: grpc.Compression | None,
    ) -> tuple[Any, ...]:
        """What a driver needs: itself bound, the call, its plan, and what goes to gRPC."""
        if self._channel.closed:
            raise aio.UsageError("the channel is closed")
        route = self._route
        method, policy = route.method, route.policy
        now = time.monotonic()
        served = inbound.get()
        above = None if served is None else served.deadline
        deadline = deadline_of(now, timeout, policy.timeout, above, streaming=method.streaming)
        call = Call(method, now, deadline)
        call.request = request
        items = inherit(call, served)
        other = self._alternative
        if other is not None and request is not None and other not in answering.get():
            until = None if timeout is None else now + timeout
            call.alternative = partial(self._call_alternative, other, request, until, metadata)
        ready = policy.wait_for_ready if wait_for_ready is None else wait_for_ready
        if ready:
            call.wait_for_ready = True
        arguments = _NO_ARGUMENTS
        if credentials is not None or compression is not None:
            arguments = {"credentials": credentials, "compression": compression}
            call.credentials = credentials is not None
        if metadata:
            call.headers = given = checked_metadata(metadata)
            items = given + items
        return self, call, route.handler(call), route.discovery, arguments, items


async def _outcome_of(call: Any) -> Success:
    """What another method has answered, with the marks of an answer that is not new."""
    answer = await call
    return Success(answer, trailing=call.outcome.trailing)


class _FromMessage(Bound):
    """A method with one request; ``call`` is the kind of call that it makes."""

    call: type[UnaryUnaryCall | UnaryStreamCall]

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        message = self._serialize(request)
        facts = self._facts(message, timeout, metadata, wait_for_ready, credentials, compression)
        driver = self.call(message, *facts)
        self.active.add(driver)
        driver._step(None)
        return driver


class _FromStream(Bound):
    """A method whose requests are a stream."""

    request_streaming = True
    call: type[StreamUnaryCall | StreamStreamCall]

    def __call__(
        self,
        request_iterator: AsyncIterable[Any] | Iterable[Any] | None = None,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        facts = self._facts(None, timeout, metadata, wait_for_ready, credentials, compression)
        driver = self.call(self._serialize, request_iterator, *facts)
        self.active.add(driver)
        driver._step(None)
        return driver


class UnaryUnary(_FromMessage, aio.UnaryUnaryMultiCallable[Any, Any]):
    arity = "unary_unary"
    call = UnaryUnaryCall

    def bind(self, channel: aio.Channel) -> Any:
        return directly(super().bind(channel), self.loop)


class UnaryStream(_FromMessage, aio.UnaryStreamMultiCallable[Any, Any]):
    arity = "unary_stream"
    response_streaming = True
    call = UnaryStreamCall


class StreamUnary(_FromStream, aio.StreamUnaryMultiCallable[Any, Any]):
    arity = "stream_unary"
    call = StreamUnaryCall


class StreamStream(_FromStream, aio.StreamStreamMultiCallable[Any, Any]):
    arity = "stream_stream"
    response_streaming = True
    call = StreamStreamCall
