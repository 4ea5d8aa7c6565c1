"""Attempts on gRPC's sync channels, behind one face: ``start`` or ``run``, ``cancel``, the end.

An attempt is made while its service's lock is held, and sent to gRPC after that: starting one may
start one of gRPC's threads, which takes as long as ten plans.
"""

from __future__ import annotations

import logging
import threading
import weakref
from functools import partial
from typing import Any, Final, Protocol

import grpc
from grpc import StatusCode, aio

from seawall.call import Failure
from seawall.transport.attempting import Items
from seawall.transport.sync import inside
from seawall.transport.sync.requests import Feed
from seawall.transport.sync.twin import Twin
from seawall.transport.translate import failure_with

_log = logging.getLogger("seawall.transport")

LOCALLY_CANCELLED: Final = "Locally cancelled by application!"


class Owner(Protocol):
    """Whose attempts they are."""

    def attempt_started(self, attempt: Attempt) -> None:
        """gRPC has taken it."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """It has ended, or gRPC has refused it (``refused``)."""


class Attempt:
    """One attempt. ``first`` is what it sends: a request, or an iterator of them."""

    __slots__ = (
        "__weakref__", "_token", "call", "cancelled", "code", "first", "metadata", "named",
        "refused", "timeout", "twin",
    )  # fmt: skip

    def __init__(
        self, twin: Twin, first: Any, timeout: float | None, metadata: Items, named: dict[str, Any]
    ) -> None:
        self.twin = twin
        self.first = first
        self.timeout = timeout
        self.metadata = metadata or None
        self.named = named
        self.call: Any = None
        """gRPC's own call, once it is started; of one that failed perhaps its error."""
        self.code: StatusCode | None = None
        """How it ended; None = it hasn't."""
        self.cancelled = False
        self.refused: Exception | None = None
        """Why gRPC did not start it."""
        # A token, as to hold the attempt itself would keep one that was dropped half read.
        self._token = token = object()
        twin.line.users.add(token)
        if type(first) is Feed:
            first.cancel = weakref.WeakMethod(self.cancel)

    def cancel(self) -> None:
        """End it, here and at the server, now or as soon as it is started."""
        self.cancelled = True
        call = self.call
        if call is not None and self.code is None:
            self._cancel(call)

    def _cancel(self, call: Any) -> None:
        call.cancel()
        if type(self.first) is Feed:
            self.first.stop()

    def leave(self) -> None:
        """It needs its connection no longer."""
        self.twin.line.leave(self._token)
        if type(self.first) is Feed:
            self.first.stop()

    def message(self) -> Any:
        """The response of a unary attempt that was answered."""
        return self.call.result()

    def failure(self, stayed: bool) -> Failure:
        """What it stands for, once it has failed."""
        if self.refused is not None:
            details = f"the attempt could not be started: {self.refused!r}"
            return Failure(StatusCode.UNAVAILABLE, details, sent=False, error=self.refused)
        call = self.call
        assert self.code is not None
        error = aio.AioRpcError(
            self.code,
            inside.initial_metadata(call),
            call.trailing_metadata(),
            call.details() or "",
            inside.debug_error_string(call),
        )
        return failure_with(error, stayed=stayed)


class Managed(Attempt):
    """An attempt whose end is told on gRPC's thread: it blocks nobody."""

    __slots__ = ()

    def start(self, owner: Owner) -> None:
        """Send it, unless it was cancelled before."""
        if self.cancelled:
            self.leave()
            return
        try:
            call = self.twin.make.future(
                self.first, timeout=self.timeout, metadata=self.metadata, **self.named
            )
        except Exception as error:
            self.refused, self.code = error, StatusCode.UNAVAILABLE
            self.leave()
            owner.attempt_ended(self)
            return
        except BaseException:  # Ctrl-C
            self.leave()
            raise
        self.call = call
        if self.cancelled:
            self._cancel(call)
        owner.attempt_started(self)
        told = partial(self._told, owner)
        if not call.add_callback(told):
            told()

    def _told(self, owner: Owner) -> None:
        try:
            self.code = self.call.code()
            self.leave()
            owner.attempt_ended(self)
        except Exception:  # it would end gRPC's thread, and with it all calls of the connection
            _log.exception("a call could not go on after an attempt")


class Blocking(Attempt):
    """A unary attempt on the caller's own thread: it costs half of a managed one.

    It is cancelled through gRPC's inner call, which ``Twin`` catches as it is made.
    """

    __slots__ = ("_response",)

    def run(self) -> None:
        """Send it, and wait for its end. Only a signal handler's exception comes out."""
        twin = self.twin
        if self.cancelled:
            self.leave()
            return
        before, _running.attempt = _running.attempt, self
        try:
            self._response, self.call = twin.make.with_call(
                self.first, timeout=self.timeout, metadata=self.metadata, **self.named
            )
            self.code = StatusCode.OK
        except grpc.RpcError as error:
            self.call = error
            self.code = error.code()
        except Exception as error:
            if self.call is not None:
                raise  # it was under way, so this is a signal handler's, such as a time limit
            self.refused, self.code = error, StatusCode.UNAVAILABLE
        finally:
            _running.attempt = before
            self.leave()

    def caught(self, call: Any) -> None:
        """gRPC has begun its inner ``call``."""
        self.call = inner = _InnerCall(call)
        if self.cancelled:
            self._cancel(inner)

    def message(self) -> Any:
        return self._response


class _Running(threading.local):
    attempt: Blocking | None = None


_running: Final = _Running()


class _InnerCall:
    """gRPC's inner call, with a ``cancel`` like all others."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        self._call.cancel(grpc.StatusCode.CANCELLED.value[0], LOCALLY_CANCELLED)


class Catching:
    """In the place of the channel inside a multi-callable: hands each blocking call that is begun
    to the attempt that it is for."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def segregated_call(self, *arguments: Any) -> Any:
        call = self._channel.segregated_call(*arguments)
        attempt = _running.attempt
        if attempt is not None:
            attempt.caught(call)
        return call
