"""What stands round every handler: admission, what its caller asks, its span, its load, errors.

Handlers are wrapped once, when they are registered: interceptors would cost 12 % a call.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn

import grpc
from grpc import StatusCode

from seawall.context import inbound
from seawall.server.calls.admission import Admission, Door, refuse
from seawall.server.calls.requests import ended, inbound_of, report
from seawall.server.calls.statuses import NOT_EXECUTED, status_of
from seawall.server.calls.steps import in_a_thread, in_steps
from seawall.server.calls.threads import GRPC_OWN, HandlerPool, Threaded
from seawall.server.calls.under_way import UnderWay
from seawall.server.calls.unreadable import readable, reading
from seawall.server.load.meter import Meter
from seawall.server.monitoring import Monitoring
from seawall.telemetry.server_spans import ServerSpans
from seawall.transport.translate import CODES


class Handlers:
    """Wraps the handlers of a server. ``spans`` is None if nobody traces."""

    def __init__(
        self,
        spans: ServerSpans | None,
        meter: Meter,
        admission: Admission,
        monitoring: Monitoring,
        pool: HandlerPool,
    ) -> None:
        self._spans = spans
        self._meter = meter
        self._admission = admission
        self._monitoring = monitoring
        self._pool = pool
        self._threaded = Threaded(spans, meter, monitoring)
        self.under_way = UnderWay()

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
            self._wrapper(function, path, handler.request_streaming, handler.response_streaming),
            reading(handler.request_deserializer, path, stream=handler.request_streaming),
            handler.response_serializer,
        )
        return wrapped

    def _wrapper(
        self,
        function: Callable[..., Any],
        path: str,
        request_streaming: bool,
        response_streaming: bool,
    ) -> Callable[..., Any]:
        if (getattr(function, "__module__", None) or "").endswith("_pb2_grpc"):
            return _not_written(path)
        asynchronous = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        door = self._admission.door(
            path,
            threaded=not asynchronous,
            stream=response_streaming,
            probed=not request_streaming,
        )
        if inspect.iscoroutinefunction(function):
            return self._coroutine(function, path, door)
        if request_streaming and not response_streaming:
            function = in_a_thread(function, self._pool)
            return self._coroutine(function, path, door, ends=True)
        if not response_streaming:
            return self._threaded.function(function, path, door)
        if not asynchronous:
            function = in_steps(function, self._pool, path, request_streaming=request_streaming)
        return self._async_generator(function, path, door, ends=not asynchronous)

    def _coroutine(
        self, function: Callable[..., Any], path: str, door: Door, *, ends: bool = False
    ) -> Callable[..., Any]:
        """``ends``: ``function`` ends its request by itself (``Inbound.end``)."""
        spans, meter = self._spans, self._meter
        told = self._monitoring.of(path)

        async def handle(request: Any, context: Any) -> Any:
            metadata = context.invocation_metadata()
            served = inbound_of(context, metadata)
            ticket = door.enter(served)
            if ticket is None or not (ticket.admitted or await door.wait(ticket)):
                return refuse(context)
            # A task of its own runs each call: what is set here ends with it.
            inbound.set(served)
            span = spans.begin(path, metadata) if spans is not None else None
            began = meter.begin()
            if told is not None:
                told.began()
            try:
                try:
                    response = await function(readable(request), context)
                finally:
                    if not ends:
                        served.end()
            except (Exception, asyncio.CancelledError) as error:
                report(meter, began, served, context, failed=True)
                await _fail(path, context, partial(ended, told, span, began, context), error)
            finally:
                door.leave(ticket)
            report(meter, began, served, context)
            if told is not None or span is not None:
                ended(told, span, began, context, _code(context))
            return response

        return handle

    def _async_generator(
        self, function: Callable[..., Any], path: str, door: Door, *, ends: bool
    ) -> Callable[..., Any]:
        """``ends``: ``function`` ends its request by itself (``Inbound.end``)."""
        spans, meter = self._spans, self._meter
        told = self._monitoring.of(path)
        under_way = self.under_way

        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            metadata = context.invocation_metadata()
            served = inbound_of(context, metadata)
            ticket = door.enter(served)
            if ticket is None or not (ticket.admitted or await door.wait(ticket)):
                refuse(context)
                return
            inbound.set(served)
            span = spans.begin(path, metadata) if spans is not None else None
            began, task = meter.begin(), under_way.begin()
            if told is not None:
                told.began()
            try:
                try:
                    async with aclosing(function(readable(request), context)) as messages:
                        async for message in messages:
                            yield message
                finally:
                    if not ends:
                        served.end()
            except GeneratorExit:
                meter.end(began)
                ended(told, span, began, context, StatusCode.CANCELLED)
                raise
            except (Exception, asyncio.CancelledError) as error:
                report(meter, began, served, context, failed=True)
                end = partial(ended, told, span, began, context)
                await _fail(path, context, end, under_way.reason(error, context))
            finally:
                under_way.leave(task)
                door.leave(ticket)
            report(meter, began, served, context)
            if told is not None or span is not None:
                ended(told, span, began, context, _code(context))

        return handle


def _not_written(path: str) -> Callable[..., Any]:
    """For a method that the generated base class has and the service does not override."""

    async def handle(request: Any, context: Any) -> None:
        why = f"{path} is not implemented by this server"
        await context.abort(StatusCode.UNIMPLEMENTED, why, NOT_EXECUTED)

    return handle


def _code(context: Any) -> StatusCode:
    """The status that an async handler has set without raising."""
    code = context.code()
    if code.__class__ is int:  # also where none was set
        return CODES.get(code, StatusCode.OK)
    return code if isinstance(code, StatusCode) else StatusCode.OK


async def _fail(
    path: str, context: Any, end: Callable[..., None], error: BaseException
) -> NoReturn:
    """End a call whose handler raised ``error``."""
    if isinstance(error, asyncio.CancelledError) and _cancelled():
        end(StatusCode.CANCELLED)
        raise error
    if isinstance(error, GRPC_OWN):
        end(_code(context), error)
        raise error
    code, details, trailing = status_of(path, error, context.trailing_metadata())
    end(code, error)
    await context.abort(code, details, trailing)
    raise error  # not reached: abort raises


def _cancelled() -> bool:
    """Whether it is this call that was cancelled; a handler may raise CancelledError by itself,
    as when it awaits something that was, and gRPC would leave its caller without an answer."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
