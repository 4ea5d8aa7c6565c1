"""What stands round every handler: what its caller asks, the server's span, its load, errors.

Handlers are wrapped once, when they are registered: interceptors would cost 12 % a call.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
from grpc import StatusCode, aio

from seawall.context import Inbound, inbound
from seawall.policy.retry import NO_RETRY
from seawall.server.meter import Meter
from seawall.server.statuses import status_of
from seawall.telemetry.server_spans import ServerSpans
from seawall.transport.load import ASK

_NO_DEADLINE: Final = 1e9
"""gRPC's sync contexts say 9.2e18 seconds for "none"."""

_GRPC_OWN: Final = (aio.AbortError, aio.InternalError)


class Handlers:
    """Wraps the handlers of a server. ``spans`` is None if nobody traces."""

    def __init__(self, spans: ServerSpans | None, meter: Meter) -> None:
        self._spans = spans
        self._meter = meter

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
        if (getattr(function, "__module__", None) or "").endswith("_pb2_grpc"):
            return _not_written(path)
        if inspect.iscoroutinefunction(function):
            return self._coroutine(function, path)
        if inspect.isasyncgenfunction(function):
            return self._async_generator(function, path)
        if response_streaming:
            return self._generator(function, path)
        return self._function(function, path)

    def _coroutine(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        spans, meter = self._spans, self._meter

        async def handle(request: Any, context: Any) -> Any:
            # A task of its own runs each call: what is set here ends with it.
            served = _inbound(context)
            inbound.set(served)
            span = spans.begin(path, context) if spans is not None else None
            began = meter.begin()
            try:
                response = await function(request, context)
            except (Exception, asyncio.CancelledError) as error:
                _report(meter, began, served, context, failed=True)
                await _fail(path, context, span, error)
            _report(meter, began, served, context)
            if span is not None:
                ServerSpans.end(span, _code(context))
            return response

        return handle

    def _async_generator(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        spans, meter = self._spans, self._meter

        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            served = _inbound(context)
            inbound.set(served)
            span = spans.begin(path, context) if spans is not None else None
            began = meter.begin()
            try:
                async with aclosing(function(request, context)) as messages:
                    async for message in messages:
                        yield message
            except GeneratorExit:
                meter.end(began)
                if span is not None:
                    ServerSpans.end(span, StatusCode.CANCELLED)
                raise
            except (Exception, asyncio.CancelledError) as error:
                _report(meter, began, served, context, failed=True)
                await _fail(path, context, span, error)
            _report(meter, began, served, context)
            if span is not None:
                ServerSpans.end(span, _code(context))

        return handle

    def _function(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        """``def`` handlers: gRPC runs them in its pool of threads."""

        def handle(request: Any, context: Any) -> Any:
            with _Threaded(self._spans, self._meter, path, context) as call:
                return call.step(lambda: function(request, call.context))

        return handle

    def _generator(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            with _Threaded(self._spans, self._meter, path, context) as call:
                messages = call.step(lambda: iter(function(request, call.context)))
                try:
                    while (message := call.step(lambda: next(messages, _END))) is not _END:
                        yield message
                finally:
                    if hasattr(messages, "close"):
                        messages.close()

        return handle


_END: Final = object()


class _Threaded:
    """A call that runs in the pool's threads, each of its steps perhaps in another one."""

    def __init__(self, spans: ServerSpans | None, meter: Meter, path: str, context: Any) -> None:
        self._path = path
        self._meter = meter
        self._began = meter.begin()
        self._served = _inbound(context)
        self._span = None
        self._traced = None
        if spans is not None:
            self._span, self._traced = spans.open(path, context)
        self.context = _Noting(context)

    def step(self, run: Callable[[], Any]) -> Any:
        """Run a part of the handler, with the context of this call set."""
        token = inbound.set(self._served)
        try:
            with ServerSpans.current(self._traced):
                return run()
        except _GRPC_OWN:
            raise
        except Exception as error:
            self.context.abort(*status_of(self._path, error))
            raise  # not reached: abort raises
        finally:
            inbound.reset(token)

    def __enter__(self) -> _Threaded:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        _report(self._meter, self._began, self._served, self.context, failed=kind is not None)
        if self._span is None:
            return
        code = self.context.noted
        if kind is not None and code is StatusCode.OK:
            code = StatusCode.CANCELLED
        ServerSpans.end(self._span, code)


class _Noting:
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


def _not_written(path: str) -> Callable[..., Any]:
    """For a method that the generated base class has and the service does not override."""

    async def handle(request: Any, context: Any) -> None:
        await context.abort(StatusCode.UNIMPLEMENTED, f"{path} is not implemented by this server")

    return handle


def _inbound(context: Any) -> Inbound:
    remaining = context.time_remaining()
    metadata = context.invocation_metadata()
    asks_load, alone = ASK[0] in metadata, NO_RETRY in metadata
    if remaining is None or remaining > _NO_DEADLINE:
        return Inbound(None, asks_load, alone)
    return Inbound(time.monotonic() + remaining, asks_load, alone)


def _report(
    meter: Meter, began: float, served: Inbound, context: Any, *, failed: bool = False
) -> None:
    """A request has ended: tell its caller how much there is to do, beside what the handler says.

    A handler that aborts has sent its status already; then nothing is told.
    """
    told = meter.end(began, asked=served.asks_load, failed=failed)
    if told:
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), *told))


def _code(context: Any) -> StatusCode:
    """The status that an async handler has set without raising."""
    code = context.code()
    if isinstance(code, StatusCode):
        return code
    return next((known for known in StatusCode if known.value[0] == code), StatusCode.OK)


async def _fail(path: str, context: Any, span: Any, error: BaseException) -> NoReturn:
    """End a call whose handler raised ``error``."""
    if isinstance(error, asyncio.CancelledError) and _cancelled():
        if span is not None:
            ServerSpans.end(span, StatusCode.CANCELLED)
        raise error
    if isinstance(error, _GRPC_OWN):
        if span is not None:
            ServerSpans.end(span, _code(context), error)
        raise error
    code, details = status_of(path, error)
    if span is not None:
        ServerSpans.end(span, code, error)
    await context.abort(code, details)
    raise error  # not reached: abort raises


def _cancelled() -> bool:
    """Whether it is this call that was cancelled; a handler may raise CancelledError by itself,
    as when it awaits something that was, and gRPC would leave its caller without an answer."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
