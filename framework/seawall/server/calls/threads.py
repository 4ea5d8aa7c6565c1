"""``def`` handlers: a pool of threads whose number is known, and what stands round the handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from grpc import StatusCode, aio

from seawall.admission.queue import Ticket
from seawall.context import inbound
from seawall.server.calls.admission import Door, refuse
from seawall.server.calls.requests import ended, inbound_of, report
from seawall.server.calls.statuses import status_of
from seawall.server.calls.steps import NotingContext
from seawall.server.calls.unreadable import readable
from seawall.server.load.meter import Meter
from seawall.server.monitoring import Monitoring
from seawall.telemetry.served import Served
from seawall.telemetry.server_spans import ServerSpans

GRPC_OWN: Final = (aio.AbortError, aio.InternalError)


class HandlerPool(ThreadPoolExecutor):
    """Where gRPC runs ``def`` handlers: with a queue of its own, which knows classes and deadlines.

    gRPC submits a handler with its request and context, on the event loop. A request that has to
    wait is handed on when its turn comes; one that is refused never reaches a thread.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="seawall-handler")

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        door: Door | None = getattr(function, "door", None)
        if door is None:
            return super().submit(function, *args, **named)
        waiting = _Waiting(self, door, function, args)
        return waiting.outcome

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        """Have it run by a thread."""
        return super().submit(function, *args)


class _Waiting:
    """A handler that may have to wait for a thread. All but the handler runs on the event loop."""

    def __init__(
        self, pool: HandlerPool, door: Door, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.outcome: Future[Any]
        self._pool, self._door, self._function, self._args = pool, door, function, args
        self._loop = asyncio.get_running_loop()
        ticket = door.enter(inbound_of(args[1], args[1].invocation_metadata()))
        if ticket is not None and ticket.admitted:
            self.outcome = self._begin(ticket)
            return
        self.outcome = Future()
        if ticket is None:
            self._refuse()
            return
        ticket.tell = lambda: self._told(ticket)
        self.outcome.add_done_callback(lambda _: self._given_up(ticket))

    def _begin(self, ticket: Ticket) -> Future[Any]:
        running = self._pool.begin(self._function, self._args)
        running.add_done_callback(lambda _: self._leave(ticket))
        return running

    def _leave(self, ticket: Ticket) -> None:
        """The thread is free again, whoever still waits; called there."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._door.leave, ticket)

    def _given_up(self, ticket: Ticket) -> None:
        if not ticket.admitted:
            self._door.leave(ticket)

    def _told(self, ticket: Ticket) -> None:
        if not self._door.told(ticket):
            if self.outcome.set_running_or_notify_cancel():
                self._refuse()
            return
        if not self.outcome.set_running_or_notify_cancel():
            self._door.leave(ticket)  # its caller has gone
            return
        running = self._begin(ticket)
        running.add_done_callback(self._copy)

    def _refuse(self) -> None:
        refuse(self._args[1])
        self.outcome.set_result(None)

    def _copy(self, running: Future[Any]) -> None:
        if running.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := running.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(running.result())


class Threaded:
    """Wraps ``def`` handlers."""

    def __init__(
        self,
        spans: ServerSpans | None,
        meter: Meter,
        monitoring: Monitoring,
    ) -> None:
        self._spans = spans
        self._meter = meter
        self._monitoring = monitoring

    def function(self, function: Callable[..., Any], path: str, door: Door) -> Callable[..., Any]:
        """One that returns its response."""
        told = self._monitoring.of(path)

        def handle(request: Any, context: Any) -> Any:
            with _Step(self._spans, self._meter, told, path, context) as call:
                return call.step(lambda: function(readable(request), call.context))

        handle.door = door  # type: ignore[attr-defined]
        return handle


class _Step:
    """A call that runs in the pool's threads, each of its steps perhaps in another one."""

    def __init__(
        self,
        spans: ServerSpans | None,
        meter: Meter,
        told: Served | None,
        path: str,
        context: Any,
    ) -> None:
        self._path = path
        self._told = told
        self._meter = meter
        self._began = meter.begin()
        if told is not None:
            told.began()
        metadata = context.invocation_metadata()
        self._served = inbound_of(context, metadata)
        self._span = None
        self._traced = None
        if spans is not None:
            self._span, self._traced = spans.open(path, metadata)
        self.context = NotingContext(context)

    def step(self, run: Callable[[], Any]) -> Any:
        """Run a part of the handler, with the context of this call set."""
        token = inbound.set(self._served)
        try:
            with ServerSpans.current(self._traced):
                return run()
        except GRPC_OWN:
            raise
        except Exception as error:
            self.context.abort(*status_of(self._path, error, self.context.trailing_metadata()))
            raise  # not reached: abort raises
        finally:
            inbound.reset(token)

    def __enter__(self) -> _Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        self._served.end()
        report(self._meter, self._began, self._served, self.context, failed=kind is not None)
        if self._told is None and self._span is None:
            return
        code = self.context.noted
        if kind is not None and code is StatusCode.OK:
            code = StatusCode.CANCELLED
        with ServerSpans.current(self._traced):
            ended(self._told, self._span, self._began, self.context, code)
