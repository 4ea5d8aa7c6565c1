"""How a server takes calls in: grpc.aio's accepting loop, less what it costs, and what ends it.

grpc.aio (seen with 1.85) waits for the next call of *any* method, anew for each call: a task for
the call that is awaited, and a callback put on and taken off for every method of the server. That
is a quarter of what a small call costs (docs/performance.md). Here each method has a task that
takes its calls in, one after the other.

And it decodes the path of a call whose method nobody has registered right in that loop, so one that
isn't UTF-8 ends it: sixty bytes from anybody, and the server stops listening while its process
lives on. Here those are answered UNIMPLEMENTED without a look at their paths.

This needs names that grpc.aio doesn't promise to keep. Where one is missing or means something
else, or with ``SEAWALL_GRPC=public``, its loop is left as it is; so are the calls of services that
were generated before methods were registered (grpcio-tools older than 1.65).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, cast

import grpc
from grpc import StatusCode, aio

from seawall.server.calls.statuses import NOT_EXECUTED
from seawall.transport.batches import core, free_all, usable

_WAYS: Final = (
    "_handle_stream_stream_rpc",
    "_handle_stream_unary_rpc",
    "_handle_unary_stream_rpc",
    "_handle_unary_unary_rpc",
)
_NEEDED: Final = {
    **dict.fromkeys(_WAYS, ("method_handler", "rpc_state", "loop")),
    "_schedule_rpc_coro": ("rpc_coro", "rpc_state", "loop", "method_name"),
    "_RequestCallError": None,
}
_OF_SERVER: Final = (
    "_make_request_call_future",
    "_request_call",
    "_request_registered_call",
    "is_running",
)
_PLAIN: Any = getattr(core, "AioServer", object)
_making: Final = Lock()

_log = logging.getLogger("seawall.server")

GRPC_LOGGERS: Final = ("grpc._cython.cygrpc", "grpc._common", "grpc._server")
"""Where gRPC logs, with a traceback each, what callers do wrong and that they have gone."""


def make_server(
    pool: ThreadPoolExecutor | None = None, options: Sequence[tuple[str, Any]] = ()
) -> aio.Server:
    """``grpc.aio.server``, which takes calls in as said above."""
    free_all()
    if not usable(_NEEDED) or not all(hasattr(_PLAIN, name) for name in _OF_SERVER):
        return aio.server(migration_thread_pool=pool, options=options)
    with _making:
        core.AioServer = Accepting
        try:
            return aio.server(migration_thread_pool=pool, options=options)
        finally:
            core.AioServer = _PLAIN


def when_it_fails(server: aio.Server, tell: Callable[[BaseException], None]) -> None:
    """Have ``tell`` called if the task ends that takes calls in, with what it failed of. Nobody
    else would: connections stay open, and ``wait_for_termination`` waits for the last of them."""
    inner = getattr(server, "_server", None)
    if isinstance(inner, Accepting):
        inner.tell = tell


async def _nobody(_: Any, context: Any) -> None:
    """For a method that this server doesn't have."""
    await context.abort(StatusCode.UNIMPLEMENTED, "Method not found!", NOT_EXECUTED)


_NOBODY: Final[Any] = grpc.stream_stream_rpc_method_handler(_nobody)


class Accepting(_PLAIN):  # type: ignore[misc]
    """gRPC's server, with an accepting loop of its own."""

    tell: Callable[[BaseException], None] | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        self._loop_here = asyncio.get_running_loop()
        self._handlers: dict[str, Any] = {}
        self._named: set[str] = set()
        self._registered: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[Serving] = set()
        super().__init__(*args, **named)

    def _serving_task_crash_handler(self, task: asyncio.Task[Any]) -> None:
        super()._serving_task_crash_handler(task)
        if self.tell is not None and not task.cancelled() and task.exception() is not None:
            self.tell(cast(BaseException, task.exception()))

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for handler in handlers or ():
            self._named.add(getattr(handler, "service_name", str)())
        super().add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, handlers: Mapping[str, Any]) -> None:
        self._handlers.update(handlers)
        self._registered |= {path.split("/")[1] for path in handlers}
        super().add_registered_method_handlers(handlers)

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """What grpc.aio's own loop waits for. Here it is told only why there are no more calls:
        then it asks again, or ends."""
        if method is None and self._named - self._registered:
            future: asyncio.Future[Any] = super()._make_request_call_future(None)
            return future
        over = self._loop_here.create_future()
        calls = self._strays() if method is None else self._calls_of(method)
        # Not cancelled with ``over``: the core still writes where it has been told to.
        self._keep(self._loop_here.create_task(self._accept(calls, over), name="accepting"))
        return over

    async def _accept(self, calls: Coroutine[Any, Any, None], over: asyncio.Future[None]) -> None:
        try:
            await calls
            raise core._RequestCallError  # as the core says of a server that stops
        except asyncio.CancelledError:
            if not over.done():  # a method that nobody answers any more is a failure, too
                over.set_exception(RuntimeError("what takes calls in was cancelled"))
            raise
        except Exception as error:
            if not over.done():
                over.set_exception(error)

    async def _calls_of(self, method: bytes) -> None:
        path = method.decode()
        handler = self._handlers[path]
        while self.is_running():
            self._serve(path, handler, await self._request_registered_call(method))

    async def _strays(self) -> None:
        """Calls of methods that are not registered."""
        while self.is_running():
            self._serve("?", _NOBODY, await self._request_call())

    def _serve(self, path: str, handler: Any, state: Any) -> None:
        loop = self._loop_here
        work = _way_of(handler)(handler, state, loop)
        Serving(core._schedule_rpc_coro(work, state, loop, path), self._serving)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """The event loop itself keeps no task alive."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _way_of(handler: Any) -> Any:
    """How gRPC serves a call of the handler's arity."""
    if handler.request_streaming:
        if handler.response_streaming:
            return core._handle_stream_stream_rpc
        return core._handle_stream_unary_rpc
    if handler.response_streaming:
        return core._handle_unary_stream_rpc
    return core._handle_unary_unary_rpc


class Serving:
    """Looks after the task that serves a call, and hears when its caller has gone.

    That is a coroutine of grpc.aio's which waits twice, and for which it makes a task; stepped
    here, it begins at once.
    """

    __slots__ = ("_among", "_coroutine")

    def __init__(self, coroutine: Any, among: set[Serving]) -> None:
        self._coroutine = coroutine
        self._among = among
        among.add(self)
        self._step()

    def _step(self, _: asyncio.Future[Any] | None = None) -> None:
        try:
            future = self._coroutine.send(None)
        except StopIteration:
            self._among.discard(self)
        except Exception:  # one call's trouble; what takes calls in goes on
            self._among.discard(self)
            _log.exception("a call could not be served to its end")
        else:
            future._asyncio_future_blocking = False
            future.add_done_callback(self._step)
