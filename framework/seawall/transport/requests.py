"""The request side of a streaming call: kept until the call is committed, so that another attempt
can be given the same messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from grpc import StatusCode, aio

from seawall.call import Failure
from seawall.transport.driver import CANCELLED, Driver

BUFFER_LIMIT = 256 * 1024
"""Bytes of requests kept for another attempt (gRPC's ``per_rpc_retry_buffer_size``). A call that
has sent more is committed to the attempt in hand."""


class Requesting(Driver):
    """What calls with a stream of requests share."""

    def __init__(self, requests: RequestStream, *facts: Any) -> None:
        super().__init__(*facts)
        self._requests = requests
        requests.attach(self)

    async def write(self, request: Any) -> None:
        """Send a message; returns when gRPC has taken it. Raises the call's error if it ended."""
        await self._requests.write(request)

    async def done_writing(self) -> None:
        """Say that no more messages follow."""
        await self._requests.done_writing()

    def raise_if_ended(self) -> None:
        outcome = self._outcome
        if outcome is not None:
            if outcome.ok:
                raise asyncio.InvalidStateError("the call has ended: its response is there")
            if outcome is CANCELLED:
                raise asyncio.CancelledError
            raise self._error(outcome)

    def fail(self, error: Exception) -> None:
        """The user's iterator raised: end the call, as there is nothing more to send."""
        if self.cancel():
            details = f"the iterator of requests raised {error!r}"
            self._outcome = Failure(StatusCode.CANCELLED, details, error=error)


class RequestStream:
    """Takes messages from the user (an iterator, or ``write``) and feeds them to the attempt.

    The messages come from one of two sources, as in grpc.aio: an iterator given at the start, or
    ``write`` and ``done_writing``. A write returns when its message was handed to gRPC, which
    gives the caller gRPC's flow control.
    """

    def __init__(
        self,
        serialize: Callable[[Any], bytes],
        source: AsyncIterable[Any] | Iterable[Any] | None,
    ) -> None:
        self._serialize = serialize
        self._source = source
        self._reader: asyncio.Task[None] | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._kept: deque[bytes] = deque()
        self._dropped = 0
        """Messages no longer kept; the index of the first kept one."""
        self._size = 0
        self._ended = False
        self._sent = 0
        """Messages handed to the attempt in hand."""
        self._waiters: list[asyncio.Future[None]] = []
        self._owner: Requesting

    def attach(self, owner: Requesting) -> None:
        """The call whose requests these are."""
        self._owner = owner
        owner.add_done_callback(lambda _: self.close())
        if self._source is not None:
            self._reader = asyncio.create_task(self._read(self._source))

    @property
    def written(self) -> int:
        return self._dropped + len(self._kept)

    def send_to(self, inner: Any) -> None:
        """Feed the attempt ``inner`` all messages from the first on."""
        if self._feeder is not None:
            self._feeder.cancel()
        self._sent = 0
        self._feeder = asyncio.create_task(self._feed(inner))

    def commit(self) -> None:
        """There will be no other attempt: what was sent need not be kept."""
        self._owner._call.committed = True
        self._drop_sent()

    def close(self) -> None:
        for task in (self._reader, self._feeder):
            if task is not None:
                task.cancel()
        self._notify()

    async def write(self, request: Any) -> None:
        """Hand a message over. Raises the call's error if it has ended."""
        if self._source is not None:
            raise aio.UsageError("the requests come from an iterator: write() can't be used too")
        if self._ended:
            raise asyncio.InvalidStateError("done_writing() was called before")
        await self._put(self._serialize(request))

    async def done_writing(self) -> None:
        """No more messages follow."""
        if self._source is not None:
            raise aio.UsageError("the requests come from an iterator: it ends the stream")
        self._end()

    async def _read(self, source: AsyncIterable[Any] | Iterable[Any]) -> None:
        try:
            if isinstance(source, AsyncIterable):
                async for request in source:
                    await self._put(self._serialize(request))
            else:
                for request in source:
                    await self._put(self._serialize(request))
            self._end()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._owner.fail(error)

    async def _put(self, message: bytes) -> None:
        self._owner.raise_if_ended()
        index = self.written
        self._kept.append(message)
        self._size += len(message)
        self._notify()
        if self._size > BUFFER_LIMIT:
            self.commit()
        await self._until(lambda: self._sent > index or self._owner.done())
        self._owner.raise_if_ended()

    def _end(self) -> None:
        self._ended = True
        self._notify()

    async def _feed(self, inner: Any) -> None:
        """Write the messages to ``inner`` as they come; its failure is reported by its status."""
        try:
            while True:
                await self._until(lambda: self._sent < self.written or self._ended)
                if self._sent == self.written:
                    await inner.done_writing()
                    return
                await inner.write(self._kept[self._sent - self._dropped])
                self._sent += 1
                self._drop_sent()
                self._notify()
        except (aio.AioRpcError, asyncio.InvalidStateError, aio.UsageError):
            return

    async def _until(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _drop_sent(self) -> None:
        if self._owner._call.committed:
            while self._dropped < self._sent:
                self._size -= len(self._kept.popleft())
                self._dropped += 1
