"""``def`` handlers that yield: run in steps, so that a thread is taken for one message at a time.

grpc.aio (seen with 1.85) keeps a thread for the whole stream, and if the caller goes away in the
middle it waits in that thread for ever: after as many cancelled streams as there are threads no
``def`` handler runs any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol

from grpc import StatusCode

_core: Any = import_module("grpc._cython.cygrpc")
_END: Final = object()

_log = logging.getLogger("seawall.server")


class Pool(Protocol):
    """What runs the steps."""

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        """Have it run by a thread. Raises RuntimeError when it is shut down."""


def in_steps(
    function: Callable[..., Any], pool: Pool, path: str, *, request_streaming: bool
) -> Callable[..., AsyncIterator[Any]]:
    """An async generator function that does what ``function`` does, in the threads of ``pool``.

    All steps of a call run in one copy of the context variables of its task.
    """

    async def messages(request: Any, context: Any) -> AsyncIterator[Any]:
        if request_streaming:
            request = _Requests(request, asyncio.get_running_loop())
        begin = partial(function, request, NotingContext(_core._SyncServicerContext(context)))
        steps = _Steps(begin, pool, path)
        try:
            while (message := await steps.next()) is not _END:
                yield message
        finally:
            steps.close()

    return messages


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
            self._ended = True
            raise
        self._ended = message is _END
        return message

    def _close_later(self, step: Future[Any]) -> None:
        if self._ended or not hasattr(self._messages, "close"):
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


class _Requests:
    """The messages of a caller, for a thread."""

    def __init__(self, messages: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._messages = messages
        self._loop = loop

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> Any:
        coming = asyncio.run_coroutine_threadsafe(self._messages.__anext__(), self._loop)
        try:
            return coming.result()
        except StopAsyncIteration:
            raise StopIteration from None


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
