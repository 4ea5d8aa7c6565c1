"""Calls of methods that this server doesn't have, kept away from grpc.aio's accepting loop.

grpc.aio (seen with 1.85) decodes the path of such a call in the loop that takes all calls in, and a
path that isn't UTF-8 ends that loop: sixty bytes from anybody, and the server stops listening while
its process lives on. Calls of methods that are registered don't come that way. So here the others
are answered UNIMPLEMENTED, as grpc.aio would, without a look at their paths.

This needs names that grpc.aio doesn't promise to keep. Where one is missing, or a service of the
server was generated before methods were registered (grpcio-tools older than 1.65), it is left as it
is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from threading import Lock
from typing import Any, Final, cast

from grpc import aio

_core: Any = import_module("grpc._cython.cygrpc")
_NEEDED: Final = ("_handle_rpc", "_schedule_rpc_coro", "_MethodResolver")
_PLAIN: Any = _core.AioServer
_making: Final = Lock()

GRPC_LOGGERS: Final = ("grpc._cython.cygrpc", "grpc._common", "grpc._server")
"""Where gRPC logs, with a traceback each, what callers do wrong and that they have gone."""


def make_server(**named: Any) -> aio.Server:
    """``grpc.aio.server``, out of reach of stray calls."""
    if not _fits():
        return aio.server(**named)
    with _making:
        _core.AioServer = _Guarded
        try:
            return aio.server(**named)
        finally:
            _core.AioServer = _PLAIN


def _fits() -> bool:
    """Whether this grpc.aio is one that has the flaw, and the names that mending it needs."""
    has_loop = hasattr(_PLAIN, "_request_registered_call") and hasattr(_PLAIN, "_request_call")
    return has_loop and all(hasattr(_core, name) for name in _NEEDED)


def when_it_fails(server: aio.Server, tell: Callable[[BaseException], None]) -> None:
    """Have ``tell`` called if the task ends that takes calls in, with what it failed of. Nobody
    else would: connections stay open, and ``wait_for_termination`` waits for the last of them."""
    inner = getattr(server, "_server", None)
    if isinstance(inner, _Guarded):
        inner.tell = tell


class _Guarded(_PLAIN):  # type: ignore[misc]
    """Hands on the calls of registered methods only."""

    tell: Callable[[BaseException], None] | None = None

    def _serving_task_crash_handler(self, task: asyncio.Task[Any]) -> None:
        super()._serving_task_crash_handler(task)
        if self.tell is not None and not task.cancelled() and task.exception() is not None:
            self.tell(cast(BaseException, task.exception()))

    def __init__(self, *args: Any, **named: Any) -> None:
        self._named: set[str] = set()
        self._registered: set[str] = set()
        self._answering: set[asyncio.Task[None]] = set()
        super().__init__(*args, **named)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for handler in handlers or ():
            name = getattr(handler, "service_name", str)()
            self._named.add(name)
        super().add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, handlers: Mapping[str, Any]) -> None:
        self._registered |= {path.split("/")[1] for path in handlers}
        super().add_registered_method_handlers(handlers)

    async def _request_call(self) -> Any:
        """The next call of a method that is not registered; grpc.aio asks again and again."""
        while True:
            state = await super()._request_call()
            if self._named - self._registered:
                return state  # it may be one of theirs
            self._refuse(state)

    def _refuse(self, state: Any) -> None:
        loop = asyncio.get_running_loop()
        nobody = _core._MethodResolver([], {})
        answer = _core._handle_rpc("?", nobody, (), state, loop, False)
        task = loop.create_task(_core._schedule_rpc_coro(answer, state, loop, "?"))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
