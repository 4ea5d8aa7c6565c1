"""Unary attempts straight at gRPC's core.

grpc.aio makes an object with the caller's interface, a task, and two turns of the event loop of
each call. An attempt needs none of them: the driver above is the caller's object. One call at a
time they are an eighth of what a bare stub's call costs (docs/performance.md).
Where grpc.aio has changed (see ``batches``), attempts are its own calls again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode, aio
from grpc.aio import AioRpcError, Metadata

from seawall.transport.batches import Batch, core, usable
from seawall.transport.translate import CODES

if TYPE_CHECKING:
    from seawall.transport.attempting import Items

_NEEDED: Final = (
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendCloseFromClientOperation",
    "ReceiveInitialMetadataOperation",
    "ReceiveMessageOperation",
    "ReceiveStatusOnClientOperation",
)
_operations: list[Any] = [getattr(core, name, None) for name in _NEEDED]
_SendMetadata, _SendMessage, _SendClose, _ReceiveMetadata, _ReceiveMessage, _ReceiveStatus = (
    _operations
)
_CLOSE: Final = _SendClose and _SendClose(0)
"""It keeps nothing of the call that it is used for."""
_OF_METHOD: Final = ("_channel", "_method", "_registered_call_handle", "_response_deserializer")
_CANCELLED: Final = "Locally cancelled by application!"

Done = Callable[[Any], None]


class DirectAttempt(Batch):
    """One attempt of a unary call: begun when made, and read when it has ended.

    What the framework asks of a ``grpc.aio.UnaryUnaryCall`` can be asked of it, but for awaiting
    it: ``response`` is there when it has ended.
    """

    __slots__ = (
        "_call",
        "_context",
        "_done",
        "_first",
        "_message",
        "_method",
        "_status",
        "_waiter",
        "_wrong",
        "ended",
        "response",
        "status",
    )

    def __init__(
        self,
        method: DirectMethod,
        request: bytes,
        timeout: float | None,
        metadata: Items,
        done: Done,
        context: Context,
    ) -> None:
        """``done(self)`` is called in ``context`` when it has ended. Raises what grpc.aio raises
        if it can't begin."""
        super().__init__(method.loop)
        self._method = method
        self._done: Any = done
        self._context: Any = context
        self._waiter: asyncio.Future[None] | None = None
        self._wrong = ""
        self.ended = False
        self.response: Any = None
        self.status = StatusCode.UNKNOWN
        self._first = first = _ReceiveMetadata(0)
        self._message = message = _ReceiveMessage(0)
        self._status = status = _ReceiveStatus(0)
        self._call: Any = method.begin(timeout)
        sent = _SendMetadata(metadata, 0), _SendMessage(request, 0), _CLOSE
        self.start(self._call, (*sent, first, message, status))
        method.active.add(self)

    def over(self) -> None:
        self.ended = True
        self._method.active.discard(self)
        self.status = CODES.get(self._status.code(), StatusCode.UNKNOWN)
        if self.failure is not None:
            self._fail(str(self.failure))
        elif self.status is StatusCode.OK:
            self._read()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        done, context = self._done, self._context
        # The driver refers to us; and a channel is closed only when its last call is gone.
        self._call = self._done = self._context = None
        context.run(done, self)

    def _read(self) -> None:
        message, self._message = self._message.message(), None  # we are kept with our response
        if message is None:
            self._fail("the server said OK, and sent no response")
            return
        read = self._method.deserializer
        try:
            self.response = message if read is None else read(message)
        except Exception as error:
            self._fail(f"can't read the response: {type(error).__name__}: {error}")

    def _fail(self, wrong: str) -> None:
        self.status, self._wrong = StatusCode.INTERNAL, wrong

    def cancel(self) -> None:
        """Have the core end it; ``done`` is called when it has."""
        if not self.ended:
            self._call.cancel(_CANCELLED)

    async def end(self) -> None:
        """Wait for the end."""
        if not self.ended:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)

    async def wait_for_connection(self) -> None:
        """Wait for the end, as grpc.aio does. Raises the error of an attempt that has failed."""
        await self.end()
        if self.status is not StatusCode.OK:
            raise self.error()

    def trailing(self) -> Iterable[tuple[str, Any]]:
        """The trailing metadata of an attempt that has ended."""
        return self._status.trailing_metadata() or ()

    def error(self) -> AioRpcError:
        """The error that the status of an attempt that has ended stands for."""
        return AioRpcError(
            self.status,
            Metadata.from_tuple(self._first.initial_metadata() or ()),
            Metadata.from_tuple(self.trailing()),
            self._wrong or self._status.details() or "",
            self._wrong or self._status.error_string() or "",
        )

    async def code(self) -> StatusCode:
        await self.end()
        return self.status

    async def details(self) -> str:
        await self.end()
        return self._wrong or self._status.details() or ""

    async def initial_metadata(self) -> Metadata:
        await self.end()
        return Metadata.from_tuple(self._first.initial_metadata() or ())

    async def trailing_metadata(self) -> Metadata:
        await self.end()
        return Metadata.from_tuple(self.trailing())


class DirectMethod:
    """A unary method on one channel, for which ``multicallable`` is grpc.aio's own."""

    __slots__ = ("_begin", "_handle", "_path", "active", "deserializer", "loop", "multicallable")

    def __init__(self, multicallable: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.multicallable = multicallable
        self.loop = loop
        self.deserializer = multicallable._response_deserializer
        self.active: set[DirectAttempt] = set()
        self._begin = multicallable._channel.call
        self._path = multicallable._method
        self._handle = multicallable._registered_call_handle

    def begin(self, timeout: float | None) -> Any:
        """A call of the core's. Raises ``grpc.aio.UsageError`` if the channel is closed."""
        deadline = None if timeout is None else time.time() + timeout
        return self._begin(self._path, deadline, None, None, self._handle)


def directly(multicallable: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """``multicallable`` as a ``DirectMethod``, if this grpcio is one that allows it."""
    fits = (
        multicallable.__class__ is getattr(aio._channel, "UnaryUnaryMultiCallable", None)  # type: ignore[attr-defined]
        and all(hasattr(multicallable, name) for name in _OF_METHOD)
        and usable(dict.fromkeys(_NEEDED))
    )
    return DirectMethod(multicallable, loop) if fits else multicallable


async def until_ended(methods: Iterable[DirectMethod], grace: float | None) -> None:
    """Wait until no attempt of ``methods`` is under way, ``grace`` seconds at most; then cancel."""
    methods = tuple(methods)
    if grace:
        under_way = [asyncio.create_task(one.end()) for each in methods for one in each.active]
        if under_way:
            _, pending = await asyncio.wait(under_way, timeout=grace)
            for waiting in pending:
                waiting.cancel()
    for method in methods:
        for attempt in tuple(method.active):
            attempt.cancel()
