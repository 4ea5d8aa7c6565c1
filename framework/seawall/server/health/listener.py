"""Health beside the event loop: ``health_address``, answered by threads while the loop is blocked.

The contract, for supervisors, orchestrators and load balancers that ask here (``grpc.health.v1``):

- ``""`` and each service's name: **readiness**. SERVING = send it calls. NOT_SERVING while it
  starts, is not ready, is paused, leaves, or its loop has been blocked for ``blocked_after``.
- ``seawall.liveness``: **liveness**. SERVING = leave it alone, in all those states. NOT_SERVING =
  no sign of life: it had started, and its loop has not turned for 2 s.
- No answer: none either. The process is frozen, or C code keeps the interpreter lock.

Who restarts a process asks with a deadline, and counts: several bad answers in a row, over more
seconds than it takes the service's slowest blocking code.

It answers from before the dependencies are looked for until the very end of the stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seawall.errors import ServiceError
from seawall.server.event_loop.watch import WEDGED_AFTER, LoopWatch
from seawall.server.health.servicer import (
    LIVENESS,
    MOST_LISTED,
    NOT_SERVING,
    SERVING,
    Health,
    listing,
    too_many,
)
from seawall.server.listening.descriptors import most_probes
from seawall.server.listening.ports import why_not_bound
from seawall.transport.keepalive import SERVER_OPTIONS

_MOST_REQUESTS: Final = 24
"""At a time: each has a thread."""
_MOST_WATCHES: Final = 16
"""The other threads stay free for ``Check``."""
_POLL: Final = 0.2
"""Seconds after which those who watch hear of a change at the latest. The blocked loop can't tell
of it, and the thread that sees the block must not wait for a client that reads slowly."""
_LARGEST: Final = 4096
"""Bytes of a request: it holds a name."""
_IDLE_MS: Final = 25_000
"""After which who is connected and asks nothing is let go: connections are few here. Who probes
every 20 s or more often keeps his; three bad probes 10 s apart, after which much is restarted, take
longer."""
_STOP: Final = 2.0
"""Seconds that its end may take."""
_PARTING: Final = 0.1
"""Seconds of them for those who ask to go by themselves. Without, gRPC cuts all connections with
GOAWAY's INTERNAL_ERROR, and its core logs that in each of those who ask."""

_MEND: Final = "name another one (health_address=, SEAWALL_HEALTH)"


class Answers:
    """What is answered, worked out when it is asked, in any thread."""

    def __init__(self, health: Health, watch: LoopWatch, blocked_after: float) -> None:
        self._health = health
        self._watch = watch
        self._blocked_after = blocked_after

    def of(self, service: str) -> int | None:
        """The status of a name; None = there is no such service."""
        if service == LIVENESS:
            wedged = self._health.started and self._watch.blocked >= WEDGED_AFTER
            return NOT_SERVING if wedged else SERVING
        return self.all().get(service)

    def all(self) -> dict[str, int]:
        """Those of the server and its services."""
        statuses = dict(self._health.statuses)
        if self._watch.blocked >= self._blocked_after:
            return dict.fromkeys(statuses, NOT_SERVING)
        return statuses


class _Servicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._watches = threading.BoundedSemaphore(_MOST_WATCHES)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        status = self._answers.of(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=status)

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        statuses = self._answers.all()
        if len(statuses) > MOST_LISTED:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many(statuses))
        return listing(statuses)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if not self._watches.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_WATCHES} watch already, ask by Check"
            )
        try:
            yield from self._changes(request.service, context)
        finally:
            self._watches.release()

    def _changes(self, service: str, context: grpc.ServicerContext) -> Iterator[Any]:
        ended = threading.Event()
        told: int | None = None
        if not context.add_callback(ended.set):
            return
        while not ended.is_set():
            status = self._answers.of(service)
            if status is None:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            ended.wait(_POLL)


class _Threads(Executor):
    """A thread for each request, which the end of the process doesn't wait for: those of Python's
    own pools would keep a process that forgot to stop its server for as long as somebody watches.
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        outcome: Future[Any] = Future()

        def run() -> None:
            try:
                outcome.set_result(function(*args, **named))
            except BaseException as error:
                outcome.set_exception(error)

        try:
            threading.Thread(target=run, name="seawall health", daemon=True).start()
        except RuntimeError as error:  # no more threads: raised, it would end the server
            outcome.set_exception(error)
        return outcome


class HealthListener:
    """A server of the health protocol alone, on threads of its own."""

    def __init__(self, address: str, answers: Answers) -> None:
        self.address = address
        """Where it listens; once it does, with the port that it was given in place of 0."""
        self._server = grpc.server(
            cast(Any, _Threads()),  # any executor will do
            options=[
                *SERVER_OPTIONS,
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _LARGEST),
                ("grpc.max_allowed_incoming_connections", most_probes()),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
            ],
            maximum_concurrent_rpcs=_MOST_REQUESTS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(_Servicer(answers), self._server)

    def start(self) -> None:
        """Listen. Raises ``ServiceError`` if that can't be."""
        try:
            port = self._server.add_insecure_port(self.address)
        except RuntimeError:
            raise ServiceError(_why_not(self.address)) from None
        if not self.address.startswith("unix:"):
            self.address = f"{self.address.rpartition(':')[0]}:{port}"
        self._server.start()

    async def stop(self) -> None:
        """Answer no more."""
        stopped = self._server.stop(_PARTING)
        # Its end is told by a thread: the loop must not wait for it.
        await asyncio.to_thread(stopped.wait, _STOP)


def _why_not(address: str) -> str:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return why_not_bound(host.strip("[]"), int(port), _MEND)
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    problem = "gRPC can't, and the system says nothing against it"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return f"can't listen on {address}: {problem}; {_MEND}"
