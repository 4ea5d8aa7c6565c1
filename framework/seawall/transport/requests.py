"""The request side of a streaming call: kept until the call is committed, so that another attempt
can be given the same messages."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from grpc import StatusCode, aio

from seawall.call import Call, Failure
from seawall.errors import in_words
from seawall.transport.attempting import CANCELLED
from seawall.transport.batches import core, public_only
from seawall.transport.rpc import Rpc

BUFFER_LIMIT = 256 * 1024
"""Bytes of requests kept for another attempt (gRPC's ``per_rpc_retry_buffer_size``). A call that
has sent more is committed to the attempt in hand."""

Source = AsyncIterable[Any] | Iterable[Any] | None


class Requesting(Rpc):
    """What calls with a stream of requests share."""

    def __init__(self, serialize: Callable[[Any], bytes], source: Source, *facts: Any) -> None:
        super().__init__(*facts)
        self._requests = requests = RequestStream(serialize, self._call)
        self._written = source is None
        self.add_done_callback(lambda _: requests.close())
        if source is not None:
            requests.read(source, weakref.WeakMethod(self._requests_failed))

    async def write(self, request: Any) -> None:
        """Send a message; returns when gRPC has taken it. Raises the call's error if it ended.

        As in grpc.aio, cancelling it cancels the call: nobody could tell what was sent.
        """
        self._writable()
        self._raise_if_ended()
        try:
            await self._requests.put(request)
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._raise_if_ended()

    async def done_writing(self) -> None:
        """Say that no more messages follow."""
        self._writable()
        self._requests.end()

    def _writable(self) -> None:
        if not self._written:
            raise aio.UsageError("the requests come from an iterator: nothing can be written too")

    def _raise_if_ended(self) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        if outcome.ok:
            raise asyncio.InvalidStateError("the call has ended: its response is there")
        if outcome is CANCELLED:
            raise asyncio.CancelledError
        raise self._error(outcome)

    def _requests_failed(self, error: BaseException) -> None:
        """The user's iterator raised: end the call, as there is nothing more to send."""
        if self._outcome is None:
            details = f"the iterator of requests raised {in_words(error)}"
            self._abort(Failure(StatusCode.CANCELLED, details, error=error))

    def __del__(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._requests.close)


class RequestStream:
    """Takes messages from the user and feeds them to the attempt in hand.

    It does not hold its call, so that a call that was dropped half read can be collected.
    """

    def __init__(self, serialize: Callable[[Any], bytes], call: Call) -> None:
        self._serialize = serialize
        self._call = call
        self._reader: asyncio.Task[None] | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._kept: deque[bytes] = deque()
        self._dropped = 0
        """Messages no longer kept; the index of the first kept one."""
        self._size = 0
        self._ended = False
        self._over = False
        self._sent = 0
        """Messages handed to the attempt in hand."""
        self._waiters: list[asyncio.Future[None]] = []

    def read(self, source: Any, failed: weakref.WeakMethod[Any]) -> None:
        """Take the messages from ``source``; tell ``failed`` if it raises."""
        self._reader = asyncio.create_task(self._read(source, failed))

    def send_to(self, inner: Any) -> None:
        """Feed the attempt ``inner`` all messages from the first on."""
        if self._feeder is not None:
            self._feeder.cancel()
        self._sent = 0
        self._feeder = asyncio.create_task(self._feed(inner))

    def close(self) -> None:
        """The call is over."""
        self._over = True
        for task in (self._reader, self._feeder):
            if task is not None:
                task.cancel()
        self._notify()

    async def put(self, request: Any) -> None:
        """Hand a message over; returns when gRPC has taken it, or the call is over."""
        if self._ended:
            raise asyncio.InvalidStateError("done_writing() was called before")
        message = self._serialize(request)
        index = self._all
        self._kept.append(message)
        self._size += len(message)
        if self._size > BUFFER_LIMIT and not self._call.committed:
            self._call.committed = True  # no other attempt, so no limit for this one
            self._call.limit = None
        self._notify()
        await self._until(lambda: self._sent > index or self._over)

    def end(self) -> None:
        """No more messages follow."""
        self._ended = True
        self._notify()

    async def _read(self, source: Any, failed: weakref.WeakMethod[Any]) -> None:
        try:
            if isinstance(source, AsyncIterable):
                async for request in source:
                    await self.put(request)
            else:
                for request in source:
                    await self.put(request)
            self.end()
        except BaseException as error:
            tell = failed()
            if self._over or tell is None:
                raise
            tell(error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise  # the program is to end

    async def _feed(self, inner: Any) -> None:
        """Write the messages to ``inner`` as they come; its failure is reported by its status."""
        try:
            while True:
                await self._until(lambda: self._sent < self._all or self._ended)
                if self._sent == self._all:
                    await inner.done_writing()
                    return
                await _write(inner, self._kept[self._sent - self._dropped])
                self._sent += 1
                if self._call.committed:
                    self._drop_sent()
                self._notify()
        except (aio.AioRpcError, asyncio.InvalidStateError, aio.UsageError, core.InternalError):
            return

    @property
    def _all(self) -> int:
        return self._dropped + len(self._kept)

    def _drop_sent(self) -> None:
        while self._dropped < self._sent:
            self._size -= len(self._kept.popleft())
            self._dropped += 1

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


async def _write(inner: Any, message: bytes) -> None:
    """Write a message. If that fails, the status of ``inner`` tells why, or soon will.

    grpc.aio's own ``write`` puts an INTERNAL in the place of a status that has not come yet, and a
    stream of answers never sees the true one (1.85): that of a server that leaves, for example,
    which allows another attempt.
    """
    call, sent = getattr(inner, "_cython_call", None), getattr(inner, "_metadata_sent", None)
    if call is None or sent is None or public_only():
        await inner.write(message)
        return
    await sent.wait()
    if inner.done():
        raise asyncio.InvalidStateError("it has ended")
    await call.send_serialized_message(message)
