"""Calls with a stream of responses: unary-stream and stream-stream.

The plan ends with the first message: until then the call may be attempted again, from then on it
is committed and the stream passes straight through. Its end is reported to whoever asked
(``Call.when_ended``), even if the user drops the call half read.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, Final

from grpc import StatusCode, aio
from grpc.aio import EOF

from seawall.call import Call, Failure, Outcome, Success
from seawall.transport.attempting import CANCELLED, Items, tell
from seawall.transport.requests import Requesting
from seawall.transport.rpc import Rpc
from seawall.transport.translate import NO_METADATA, FlatMetadata, failure_of, resolved

_READ: Final = object()
"""In the place of the first message, once it has been read."""


class ResponseStream(Rpc):
    """What both share: messages are read one by one, or iterated over."""

    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)
        self._opening: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._first: Any = _READ
        self._own_answer: AsyncIterator[Any] | None = None

    def _open(self, inner: Any) -> None:
        self._opening = self._loop.create_task(self._first_message(inner))

    async def _first_message(self, inner: Any) -> None:
        try:
            first = await inner.read()
        except aio.AioRpcError:
            first = EOF
        except asyncio.CancelledError:
            if not inner.done():
                raise  # the loop ends
            first = EOF  # it was given up, the call was cancelled, or its connection was closed
        if inner is not self._inner or self._outcome is not None:
            return
        if first is EOF:
            code = await inner.code()
            if code is not StatusCode.OK:
                self._failed(inner, code)
                return
        self._first = first
        self._answered(inner)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.ok and not outcome.fallback:
            # Weak: a user who drops the call half read has it collected, which ends the stream.
            ended = partial(_report_end, self._call, weakref.ref(self))
            self._opened.set_result(None)
            outcome.value.add_done_callback(ended)  # at once, if it has ended already
            return
        if outcome.ok:
            try:
                self._own_answer = _messages_of(outcome.value)
            except TypeError as error:
                outcome = Failure(StatusCode.INTERNAL, str(error), error=error)
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        super()._finish(outcome)
        if not self._opened.done():
            self._opened.set_result(None)

    def cancel(self) -> bool:
        outcome = self._outcome
        if self._own_answer is not None and outcome is not None and outcome.ok:
            # Another method's stream answers; what the caller made up himself is his.
            other = outcome.value
            return isinstance(other, aio.Call) and other.cancel()
        inner = self._inner
        if self._outcome is None and inner is not None and self._opened.done():
            self._outcome = CANCELLED
            inner.cancel()  # reports the end to the layers
            self._record(CANCELLED)
            self._outcome = None
            self._finish(CANCELLED)
            return True
        if self._opening is not None:
            self._opening.cancel()
        return super().cancel()

    def __del__(self) -> None:
        # grpc.aio itself never ends a stream that was dropped half read: its own references
        # keep the call alive.
        if self._outcome is None and self._inner is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._inner.cancel)

    async def read(self) -> Any:
        """The next message, or ``grpc.aio.EOF``. Raises the call's error."""
        await self._committed()
        if self._own_answer is not None:
            return await anext(self._own_answer, EOF)
        if self._first is not _READ:
            first, self._first = self._first, _READ
            if first is not EOF:
                return first
        inner, outcome = self._inner, self._outcome
        if inner is None or (outcome is not None and not outcome.ok):
            self._raise(outcome)
        try:
            return await inner.read()
        except asyncio.CancelledError:
            if _was_asked() or self._outcome in (None, CANCELLED):
                self.cancel()
                raise
            self._raise(self._outcome)  # its connection was closed
        except aio.AioRpcError as error:
            outcome = self._outcome
            if outcome is None or outcome.ok:
                outcome = Failure(error.code(), error.details() or "", error=error)
            self._raise(outcome)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not EOF:
            yield message

    async def _committed(self) -> None:
        if not self._opened.done():
            try:
                await asyncio.shield(self._opened)
            except asyncio.CancelledError:
                self.cancel()
                raise


def _messages_of(answer: Any) -> AsyncIterator[Any]:
    """The messages of a fallback. Raises TypeError if it isn't a stream of them."""
    if isinstance(answer, AsyncIterable):
        return aiter(answer)
    if isinstance(answer, Iterable):
        return _one_by_one(answer)
    kind = type(answer).__name__
    raise TypeError(f"the fallback of a call with a stream of responses is {kind}, no iterable")


async def _one_by_one(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def _report_end(call: Call, driver: weakref.ref[ResponseStream], inner: Any) -> None:
    code = resolved(inner.code())
    ok = code is StatusCode.OK
    end: Outcome = Success(inner) if ok else failure_of(inner, code, stayed=True)
    hooks, call.at_end = call.at_end or [], None
    tell(hooks, end)
    owner = driver()
    if owner is not None and owner._outcome is None:
        if not end.ok:
            owner._record(end)
        owner._finish(end)


def _was_asked() -> bool:
    """Whether the task that runs was asked to end, and not what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class UnaryStreamCall(ResponseStream, aio.UnaryStreamCall[Any, Any]):
    """A call under way; the interface of ``grpc.aio.UnaryStreamCall``."""

    def __init__(self, request: bytes, *facts: Any) -> None:
        super().__init__(*facts)
        self._request = request

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        flat = FlatMetadata(metadata) if metadata else NO_METADATA
        inner = make(self._request, timeout=timeout, metadata=flat, **self._arguments)
        self._open(inner)
        return inner


class StreamStreamCall(Requesting, ResponseStream, aio.StreamStreamCall[Any, Any]):
    """A call under way; the interface of ``grpc.aio.StreamStreamCall``."""

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        flat = FlatMetadata(metadata) if metadata else NO_METADATA
        inner = make(timeout=timeout, metadata=flat, **self._arguments)
        self._requests.send_to(inner)
        self._open(inner)
        return inner

    def __del__(self) -> None:
        Requesting.__del__(self)
        ResponseStream.__del__(self)
