"""Calls with one response: unary-unary and stream-unary."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from grpc import StatusCode, aio

from seawall.call import Failure, Success
from seawall.transport.attempting import CANCELLED, Items
from seawall.transport.direct import DirectAttempt, DirectMethod
from seawall.transport.requests import Requesting
from seawall.transport.rpc import Rpc
from seawall.transport.translate import (
    NO_METADATA,
    FlatMetadata,
    failure_with,
    is_broken_write,
    true_code,
)


class UnaryResponse(Rpc):
    """What both share: the call can be awaited for its response."""

    def __await__(self) -> Generator[Any, None, Any]:
        if self._outcome is None:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            try:
                yield from self._waiter
            except asyncio.CancelledError:
                self.cancel()  # the caller's task was cancelled; nothing if the call was
                raise
        outcome = self._outcome
        if type(outcome) is Success:
            value = outcome.value
            if outcome.fallback:
                return value
            if type(value) is DirectAttempt:
                return value.response
            return (yield from value.__await__())
        if outcome is CANCELLED:
            raise asyncio.CancelledError
        raise self._error(outcome)  # type: ignore[arg-type]

    def _cancel_attempt(self, inner: Any) -> None:
        # ``cancel()`` also cancels the task that waits for gRPC's core, and then grpc.aio (seen
        # with 1.85; grpc/grpc#43360) never frees what the core was given: 600 bytes and more for
        # each attempt that is given up or loses to another one. Told this way the core ends the
        # call, and the task with it.
        end = getattr(inner, "_cancel", None)
        if end is None:  # an attempt of ours, or a name that grpc.aio doesn't promise to keep
            inner.cancel()
        else:
            end(CANCELLED.details)


class UnaryUnaryCall(UnaryResponse, aio.UnaryUnaryCall[Any, Any]):
    """A call under way; the interface of ``grpc.aio.UnaryUnaryCall``."""

    def __init__(self, request: bytes, *facts: Any) -> None:
        super().__init__(*facts)
        self._request = request

    def _begin(self, make: Any, timeout: float | None, metadata: Items) -> Any:
        if type(make) is DirectMethod:
            if not self._arguments:
                return DirectAttempt(
                    make, self._request, timeout, metadata, self._attempt_done, self._context
                )
            make = make.multicallable
        flat = FlatMetadata(metadata) if metadata else NO_METADATA
        inner = make(self._request, timeout=timeout, metadata=flat, **self._arguments)
        inner.add_done_callback(self._attempt_done)
        return inner

    def _code_of(self, inner: Any) -> StatusCode:
        return inner.status if type(inner) is DirectAttempt else super()._code_of(inner)

    def _failure_of(self, inner: Any, code: StatusCode, stayed: bool) -> Failure:
        if type(inner) is DirectAttempt:
            return failure_with(inner.error(), stayed=stayed)
        return super()._failure_of(inner, code, stayed)


class StreamUnaryCall(Requesting, UnaryResponse, aio.StreamUnaryCall[Any, Any]):
    """A call under way; the interface of ``grpc.aio.StreamUnaryCall``."""

    def _begin(self, make: Any, timeout: float | None, metadata: Items) -> Any:
        flat = FlatMetadata(metadata) if metadata else NO_METADATA
        inner = make(timeout=timeout, metadata=flat, **self._arguments)
        self._requests.send_to(inner)
        inner.add_done_callback(self._stream_done)
        return inner

    def _stream_done(self, inner: Any) -> None:
        if is_broken_write(inner):
            self._settling = self._loop.create_task(self._await_status(inner))
        else:
            self._attempt_done(inner)

    async def _await_status(self, inner: Any) -> None:
        await true_code(inner)
        self._attempt_done(inner)
