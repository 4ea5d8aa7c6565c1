"""A stub's methods on the sync channel: from the arguments of a call to a call under way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from seawall.call import Call, Success
from seawall.context import answering, answering_for, inbound, inherit
from seawall.policy.deadline import deadline_of
from seawall.transport.methods import Deserializer, Route, Serializer
from seawall.transport.sync.requesting import iterator_of
from seawall.transport.sync.streams import StreamStreamCall, UnaryStreamCall
from seawall.transport.sync.unary import StreamUnaryCall, UnaryUnaryCall
from seawall.transport.translate import MetadataLike, checked_metadata

if TYPE_CHECKING:
    from seawall.transport.sync.calls import Calls
    from seawall.transport.sync.channel import Channel

_NO_ARGUMENTS: dict[str, Any] = {}


class Bound:
    """A method of the channel, as its calls see it: connections keep it, and it does not hold the
    channel, which is closed when nobody has it any more."""

    sync = True

    def __init__(
        self,
        calls: Calls,
        path: str,
        arity: str,
        deserializer: Deserializer | None,
        registered: bool | None,
    ) -> None:
        self._calls = calls
        self._path = path
        self._arity = arity
        self.reading = deserializer, registered
        self.active: Any = calls.streams if arity.endswith("stream") else calls.active
        self.limits = calls.timers
        self.pool = calls.pool
        self.callbacks = calls.callbacks
        self.pid = calls.pid
        self.reroute()
        self.lock = self.route.discovery.lock  # type: ignore[attr-defined]

    def reroute(self) -> None:
        """Have calls handled as the config in force says."""
        self.route: Route = self._calls.router.route(
            self._path,
            request_streaming=self._arity.startswith("stream"),
            response_streaming=self._arity.endswith("stream"),
        )

    def bind(self, channel: Any) -> Callable[..., Any]:
        """This method on one instance's own channel; requests come serialized."""
        make: Callable[..., Any] = getattr(channel, self._arity)
        bound: Callable[..., Any] = make(
            self._path,
            response_deserializer=self.reading[0],
            _registered_method=self.reading[1],
        )
        return bound


class _Method:
    """What all four arities share."""

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
        self._calls = channel.calls
        self._serialize = serializer or bytes
        self._bound = Bound(channel.calls, path, self.arity, deserializer, registered)
        channel.calls.begin_to_follow(self._bound)

    def _facts(
        self,
        request: bytes | None,
        timeout: float | None,
        metadata: MetadataLike | None,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
        compression: grpc.Compression | None,
    ) -> tuple[Any, ...]:
        """What a driver needs: the method, the call, its plan, and what goes to gRPC."""
        calls, bound = self._calls, self._bound
        if calls.closed or os.getpid() != calls.pid:
            calls.check()
        route = bound.route
        method, policy = route.method, route.policy
        now = time.monotonic()
        served = inbound.get()
        above = None if served is None else served.deadline
        deadline = deadline_of(now, timeout, policy.timeout, above, streaming=method.streaming)
        call = Call(method, now, deadline)
        call.request = request
        items = inherit(call, served)
        if policy.wait_for_ready if wait_for_ready is None else wait_for_ready:
            call.wait_for_ready = True
        arguments = _NO_ARGUMENTS
        if credentials is not None or compression is not None:
            arguments = {"credentials": credentials, "compression": compression}
            call.credentials = credentials is not None
        if metadata:
            call.headers = given = checked_metadata(metadata)
            items = given + items
        self._add_alternative(call, timeout, metadata)
        with bound.lock:
            plan = route.handler(call)
        return bound, call, plan, route.discovery, arguments, items

    def _add_alternative(
        self, call: Call, timeout: float | None, metadata: MetadataLike | None
    ) -> None:
        """Nothing, but for unary methods: see there."""

    def _enter(self, driver: Any) -> Any:
        """Have the channel know of a call that is about to begin, and the call of the channel."""
        driver.channel = self._channel
        self._calls.add(driver, self._bound.active)
        return driver


class _Unary(_Method):
    """A method with one response: it can block, or return a future."""

    def _call(self, request: Any, *options: Any) -> Any:
        """The call, about to begin."""
        raise NotImplementedError

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._call(
            request, timeout, metadata, credentials, wait_for_ready, compression
        ).answer()

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, Any]:
        call = self._call(request, timeout, metadata, credentials, wait_for_ready, compression)
        return call.answer(), call

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        call = self._call(request, timeout, metadata, credentials, wait_for_ready, compression)
        call.begin()
        return call


class UnaryUnary(_Unary, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    arity = "unary_unary"

    def _call(self, request: Any, *options: Any) -> UnaryUnaryCall:
        message = self._serialize(request)
        call = UnaryUnaryCall(message, *self._facts(message, *options))
        call.channel = self._channel
        self._bound.active.add(call)
        if self._calls.closed:  # in this moment: whoever closed it may not have seen this call
            self._calls.end(call)
        return call

    def _add_alternative(
        self, call: Call, timeout: float | None, metadata: MetadataLike | None
    ) -> None:
        path = self._bound.route.policy.fallback
        if path in (None, call.method.path) or path in answering.get():
            return
        until = None if timeout is None else call.started + timeout
        call.alternative = partial(self._call_alternative, path, call.request, until, metadata)

    def _call_alternative(
        self, path: str, request: Any, until: float | None, metadata: MetadataLike | None
    ) -> Success:
        """Call the method that answers if this one fails, with the time that the caller gave."""
        other = self._channel.method(UnaryUnary, path, None, *self._bound.reading)
        timeout = None if until is None else until - time.monotonic()
        with answering_for(self._bound._path):
            answer, call = other.with_call(request, timeout=timeout, metadata=metadata)
        return Success(answer, trailing=call.outcome.trailing)


class StreamUnary(_Unary, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    arity = "stream_unary"

    def _call(self, request: Iterator[Any], *options: Any) -> StreamUnaryCall:
        source = iterator_of(request)
        facts = self._facts(None, *options)
        call: StreamUnaryCall = self._enter(StreamUnaryCall(self._serialize, source, *facts))
        return call


class UnaryStream(_Method, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    arity = "unary_stream"

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        message = self._serialize(request)
        facts = self._facts(message, timeout, metadata, credentials, wait_for_ready, compression)
        call = self._enter(UnaryStreamCall(message, *facts))
        call.begin()
        return call


class StreamStream(_Method, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    arity = "stream_stream"

    def __call__(
        self,
        request_iterator: Iterator[Any],
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        source = iterator_of(request_iterator)
        facts = self._facts(None, timeout, metadata, credentials, wait_for_ready, compression)
        call = self._enter(StreamStreamCall(self._serialize, source, *facts))
        call.begin()
        return call
