"""The sync channel: the interface of ``grpc.Channel``, one for every service and every stub."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from grpc import ChannelConnectivity

from seawall.transport.discovery import Discovery
from seawall.transport.methods import Deserializer, Serializer
from seawall.transport.sync import processes
from seawall.transport.sync.calls import Calls
from seawall.transport.sync.methods import StreamStream, StreamUnary, UnaryStream, UnaryUnary

AnyMethod = TypeVar("AnyMethod", UnaryUnary, UnaryStream, StreamUnary, StreamStream)


class Channel(grpc.Channel):
    """Calls any instance of any service that the registry knows, from any thread.

    Made by ``seawall.sync.connect()``. One that is dropped, and whose stubs and calls are, closes
    itself.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        """What calls share; for the framework alone."""
        self._methods: dict[Any, Any] = {}
        # When it is collected: nobody can wait then. For the interpreter's end see ``processes``.
        weakref.finalize(self, calls.close, 0.0).atexit = False

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def discoveries(self) -> list[Discovery]:
        """What is watched: a service for each that has a stub on this channel."""
        return list(self.calls.router.discoveries)

    def check(self) -> None:
        """Raise ``ValueError`` if it is closed, ``RuntimeError`` after a fork."""
        self.calls.check()

    def close(self) -> None:
        """Take no more calls, cancel those under way, and close every connection.

        Waits for that, 5 s at most. May be called again, by any thread.
        """
        self.calls.close()

    def subscribe(
        self, callback: Callable[[ChannelConnectivity], None], try_to_connect: bool | None = None
    ) -> None:
        """Have ``callback`` told the channel's state, now and at each change, on a thread for
        that: READY if every service that has a stub has a connected instance.

        ``try_to_connect`` changes nothing: connections are always tried.
        """
        self.check()
        self.calls.connectivity.subscribe(callback)

    def unsubscribe(self, callback: Callable[[ChannelConnectivity], None]) -> None:
        """Take a subscription back."""
        processes.check(self.calls.pid)
        self.calls.connectivity.unsubscribe(callback)

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        return self.method(
            UnaryUnary, method, request_serializer, response_deserializer, _registered_method
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        return self.method(
            UnaryStream, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        return self.method(
            StreamUnary, method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        return self.method(
            StreamStream, method, request_serializer, response_deserializer, _registered_method
        )

    def method(self, kind: type[AnyMethod], path: str, *facts: Any) -> AnyMethod:
        """One object for a method, however many stubs are made: connections keep what it calls."""
        self.check()
        key = (kind, path, *facts)
        try:
            known = self._methods.get(key)
        except TypeError:  # a serializer that can't be hashed
            return kind(self, path, *facts)
        if known is None:
            # Of two threads that come here at once, both get what the first has put there.
            known = self._methods.setdefault(key, kind(self, path, *facts))
        return known  # type: ignore[no-any-return]
