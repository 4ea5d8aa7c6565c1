"""``def`` handlers of streams, whose messages come and go on the event loop.

Those that yield are run in steps, so that a thread is taken for one message at a time. grpc.aio
(seen with 1.85) keeps a thread for the whole stream, and if the caller goes away in the middle it
waits in that thread for ever: after as many cancelled streams as there are threads no ``def``
handler runs any more. And those that read see then that there are no more requests, so that half
an upload looks like a whole one; here they get an error.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol

from grpc import StatusCode

from seawall.context import end_request
from seawall.statuses import Cancelled

_core: Any = import_module("grpc._cython.cygrpc")
_END: Final = object()
_NOTICE: Final = 0.002
"""Seconds after the last message of a call within which it is known whether that was cancelled."""

_log = logging.getLogger("seawall.server")


class Pool(Protocol):
    """What runs the steps."""

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        """Have it run by a thread. Raises RuntimeError when it is shut down."""


def in_steps(
    function: Callable[..., Any], pool: Pool, path: str, *, request_streaming: bool
) -> Callable[..., AsyncIterator[Any]]:
    """An async generator function that does what ``function`` does, in the threads of ``pool``.

    All steps of a call run in one copy of the context variables of its task. The last one ends the
    request (``end_request``), as a thread goes on for a while when the call is cancelled.
    """

    async def messages(request: Any, context: Any) -> AsyncIterator[Any]:
        requests = _Requests(request, context) if request_streaming else None
        begin = partial(function, requests or request, sync_context(context))
        steps = _Steps(begin, pool, path)
        try:
            while (message := await steps.next()) is not _END:
                yield message
        finally:
            if requests is not None:
                requests.end()
            steps.close()

    return messages


def in_a_thread(function: Callable[..., Any], pool: Pool) -> Callable[..., Awaitable[Any]]:
    """A coroutine function that does what ``function`` does, which reads a stream of requests and
    returns one response, in a thread of ``pool``."""

    def run_to_its_end(requests: _Requests, context: Any) -> Any:
        try:
            return function(requests, context)
        finally:
            end_request()  # here, as the thread goes on when the call is cancelled

    async def response(messages: Any, context: Any) -> Any:
        requests = _Requests(messages, context)
        run = partial(run_to_its_end, requests, sync_context(context))
        try:
            return await asyncio.wrap_future(pool.begin(contextvars.copy_context().run, (run,)))
        finally:
            requests.end()

    return response


def sync_context(context: Any) -> NotingContext:
    """gRPC's context for ``def`` handlers, of a call whose context is the one for others."""
    return NotingContext(_core._SyncServicerContext(context))


class _Steps:
    """A generator that is advanced by threads, one at a time."""

    def __init__(self, begin: Callable[[], Any], pool: Pool, path: str) -> None:
        self._begin = begin
        self._pool = pool
        self._path = path
        self._messages: Iterator[Any] | None = None
        self._ended = False
        self._context = contextvars.copy_context()
        self._step: Future[Any] | None = None

    async def next(self) -> Any:
        """The next message, or ``_END``. Raises what the handler raises."""
        self._step = self._pool.begin(self._context.run, (self._advance,))
        return await asyncio.wrap_future(self._step)

    def close(self) -> None:
        """No more is wanted: end the generator, in a thread, once the step that runs has ended."""
        if self._step is not None:
            self._step.add_done_callback(self._close_later)

    def _advance(self) -> Any:
        try:
            if self._messages is None:
                self._messages = iter(self._begin())
            message = next(self._messages, _END)
        except BaseException:
            self._end()
            raise
        if message is _END:
            self._end()
        return message

    def _end(self) -> None:
        self._ended = True
        end_request()

    def _close_later(self, step: Future[Any]) -> None:
        if self._ended:
            return
        if not hasattr(self._messages, "close"):
            self._context.run(self._end)
            return
        try:
            self._pool.begin(self._context.run, (self._close,))
        except RuntimeError:  # the pool is shut down: there is no other thread any more
            self._context.run(self._close)

    def _close(self) -> None:
        try:
            self._messages.close()  # type: ignore[union-attr]
        except Exception:
            _log.exception("%s raised when its stream was closed", self._path)
        finally:
            self._end()


class _Requests:
    """The messages of a caller, for a thread."""

    def __init__(self, messages: Any, context: Any) -> None:
        self._messages = messages
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._ended = False

    def end(self) -> None:
        """The call has ended: whoever goes on reading is told so. Called on the event loop."""
        self._ended = True

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> Any:
        message = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        if message is _END:
            raise StopIteration
        return message

    async def _next(self) -> Any:
        try:
            if not self._ended:
                return await self._messages.__anext__()
        except StopAsyncIteration:
            # The end of the requests and the end of the call look the same at first.
            await asyncio.sleep(_NOTICE)
        if self._ended or self._context.cancelled():
            raise Cancelled("the caller went away before it had sent all its requests")
        return _END


class NotingContext:
    """A sync context that remembers what it was given: gRPC's own can't be asked."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._trailing: tuple[Any, ...] = ()
        self.noted = StatusCode.OK

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_code(self, code: StatusCode) -> None:
        self.noted = code
        self._context.set_code(code)

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = tuple(metadata)
        self._context.set_trailing_metadata(self._trailing)

    def trailing_metadata(self) -> tuple[Any, ...]:
        return self._trailing

    def abort(self, code: StatusCode, details: str = "", *more: Any, **named: Any) -> None:
        self.noted = code
        self._context.abort(code, details, *more, **named)
