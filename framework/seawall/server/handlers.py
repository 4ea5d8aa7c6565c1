"""What stands round every handler: the inbound deadline, the server's span, and errors.

Handlers are wrapped once, when they are registered: interceptors would cost 12 % a call.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
from grpc import StatusCode, aio

from seawall.context import Inbound, inbound
from seawall.telemetry.server_spans import ServerSpans

_log = logging.getLogger("seawall.server")

_PASSED_ON: Final = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
    }
)
"""Codes of a dependency's failure that say the same of the service that needed it."""

_NO_DEADLINE: Final = 1e9
"""gRPC's sync contexts say 9.2e18 seconds for "none"."""

_GRPC_OWN: Final = (aio.AbortError, aio.InternalError)


class Handlers:
    """Wraps the handlers of a server. ``spans`` is None if nobody traces."""

    def __init__(self, spans: ServerSpans | None) -> None:
        self._spans = spans

    def wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], path: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler, with what stands round it."""
        arity = "_".join(
            "stream" if streaming else "unary"
            for streaming in (handler.request_streaming, handler.response_streaming)
        )
        function = getattr(handler, arity)
        make = getattr(grpc, f"{arity}_rpc_method_handler")
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            self._wrapper(function, path, handler.response_streaming),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return wrapped

    def _wrapper(
        self, function: Callable[..., Any], path: str, response_streaming: bool
    ) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            return self._coroutine(function, path)
        if inspect.isasyncgenfunction(function):
            return self._async_generator(function, path)
        if response_streaming:
            return self._generator(function, path)
        return self._function(function, path)

    def _coroutine(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        spans = self._spans

        async def handle(request: Any, context: Any) -> Any:
            # A task of its own runs each call: what is set here ends with it.
            inbound.set(_inbound(context))
            span = spans.begin(path, context) if spans is not None else None
            try:
                response = await function(request, context)
            except asyncio.CancelledError:
                if span is not None:
                    ServerSpans.end(span, StatusCode.CANCELLED)
                raise
            except Exception as error:
                await _fail(path, context, span, error)
            if span is not None:
                ServerSpans.end(span, _code(context))
            return response

        return handle

    def _async_generator(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        spans = self._spans

        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            inbound.set(_inbound(context))
            span = spans.begin(path, context) if spans is not None else None
            try:
                async with aclosing(function(request, context)) as messages:
                    async for message in messages:
                        yield message
            except (asyncio.CancelledError, GeneratorExit):
                if span is not None:
                    ServerSpans.end(span, StatusCode.CANCELLED)
                raise
            except Exception as error:
                await _fail(path, context, span, error)
            if span is not None:
                ServerSpans.end(span, _code(context))

        return handle

    def _function(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        """``def`` handlers: gRPC runs them in its pool of threads."""
        spans = self._spans

        def handle(request: Any, context: Any) -> Any:
            token = inbound.set(_inbound(context))
            span = spans.begin(path, context, attach=False) if spans is not None else None
            try:
                response = function(request, context)
            except Exception as error:
                _fail_in_thread(path, context, span, error)
            finally:
                inbound.reset(token)
            if span is not None:
                ServerSpans.end(span, StatusCode.OK)
            return response

        return handle

    def _generator(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        spans = self._spans

        def handle(request: Any, context: Any) -> Iterator[Any]:
            served = _inbound(context)
            span = spans.begin(path, context, attach=False) if spans is not None else None
            messages = None
            while True:
                # Each step may run in another thread.
                token = inbound.set(served)
                try:
                    messages = iter(function(request, context)) if messages is None else messages
                    message = next(messages)
                except StopIteration:
                    break
                except Exception as error:
                    _fail_in_thread(path, context, span, error)
                finally:
                    inbound.reset(token)
                yield message
            if span is not None:
                ServerSpans.end(span, StatusCode.OK)

        return handle


def _inbound(context: Any) -> Inbound:
    remaining = context.time_remaining()
    if remaining is None or remaining > _NO_DEADLINE:
        return Inbound(None)
    return Inbound(time.monotonic() + remaining)


def _code(context: Any) -> StatusCode:
    """The status that an async handler has set without raising."""
    code = context.code()
    if isinstance(code, StatusCode):
        return code
    return next((known for known in StatusCode if known.value[0] == code), StatusCode.OK)


async def _fail(path: str, context: Any, span: Any, error: Exception) -> NoReturn:
    if isinstance(error, _GRPC_OWN):
        if span is not None:
            ServerSpans.end(span, _code(context), error)
        raise error
    code, details = _status_of(path, error)
    if span is not None:
        ServerSpans.end(span, code, error)
    await context.abort(code, details)
    raise error  # not reached: abort raises


def _fail_in_thread(path: str, context: Any, span: Any, error: Exception) -> NoReturn:
    if isinstance(error, _GRPC_OWN):
        if span is not None:
            ServerSpans.end(span, StatusCode.UNKNOWN, error)
        raise error
    code, details = _status_of(path, error)
    if span is not None:
        ServerSpans.end(span, code, error)
    context.abort(code, details)
    raise error  # not reached: abort raises


def _status_of(path: str, error: Exception) -> tuple[StatusCode, str]:
    """The status for an exception. What it says stays in the log, under an id."""
    if isinstance(error, NotImplementedError):
        return StatusCode.UNIMPLEMENTED, f"{path} is not implemented by this server"
    identity = uuid.uuid4().hex[:12]
    if isinstance(error, aio.AioRpcError) and (code := error.code()) in _PASSED_ON:
        _log.warning(
            "%s failed as a dependency did [error id %s]: %s %s",
            path,
            identity,
            code.name,
            error.details(),
        )
        return code, f"{path} failed as a dependency did [error id {identity}]"
    _log.error("%s raised [error id %s]", path, identity, exc_info=error)
    return StatusCode.INTERNAL, f"internal error [error id {identity}]"
