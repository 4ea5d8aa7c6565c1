"""Sync calls with a stream of responses: unary-stream and stream-stream.

The plan ends with the first message, which is taken by whoever reads: until then the call may be
attempted again, from then on it is committed and the stream passes straight through. No thread
waits for messages that nobody asks for. Its end is reported to whoever asked
(``Call.when_ended``), even if the user drops the call half read.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import grpc
from grpc import StatusCode

from seawall.call import Call, Failure, Outcome, Success
from seawall.transport.attempting import Items
from seawall.transport.sync import processes
from seawall.transport.sync.requesting import Requesting
from seawall.transport.sync.rpc import SyncRpc
from seawall.transport.sync.streamed import Streamed
from seawall.transport.sync.twin import Twin

_END: Final = object()
_DROPPED: Final = Failure(StatusCode.CANCELLED, "Cancelled upon garbage collection!")


class UnaryStreamCall(SyncRpc):
    """A call under way; the interface of what gRPC's sync multi-callables return for it."""

    _opened = False
    """Committed to the attempt in hand, whose first message has been read."""
    _own_answer: Iterator[Any] | None = None
    _readers = 0
    _unread = False
    """The limit for the attempt has passed, and nobody had asked for its first message."""

    def __iter__(self) -> UnaryStreamCall:
        return self

    def next(self) -> Any:
        return self.__next__()

    def __next__(self) -> Any:
        processes.check(self._bound.pid)
        while (attempt := self._unopened()) is not None:
            message = self._read(attempt, first=True)
            if message is not _END:
                return message
        if self._own_answer is not None:
            return next(self._own_answer)
        attempt, outcome = self._inner, self._outcome
        if attempt is not None and (outcome is None or outcome.ok):
            message = self._read(attempt)
            if message is not _END:
                return message
        outcome = self._ending()
        if outcome.ok:
            raise StopIteration
        raise self._error(outcome)

    # --- reading ------------------------------------------------------------------------------

    def _unopened(self) -> Any:
        """The attempt in hand, whose first message is to be read; None if it was, or the call has
        ended. Waits for one."""
        while True:
            self.wait_until(lambda: self._opened or self._outcome is not None or self._is_sent())
            with self._lock:
                if self._opened or self._outcome is not None:
                    return None
                if self._is_sent():
                    return self._inner

    def _read(self, attempt: Streamed, *, first: bool = False) -> Any:
        """The next message of an attempt; ``_END`` if it has ended, or is not the one any more."""
        self._reads(attempt, 1)
        try:
            message = next(attempt.call)
        except StopIteration:
            message = _END
        except grpc.RpcError:
            message = _END
        finally:
            self._reads(attempt, -1)
        if message is _END:
            attempt.ended()
            self.enter(self._end_of, attempt)
        elif first:
            self.enter(self._open, attempt)
            if not (self._opened and self._inner is attempt):
                return _END  # it had been given up
        return message

    def _reads(self, attempt: Streamed, count: int) -> None:
        if self._opened:
            return
        with self._lock:
            self._readers += count
            limit = self._call.limit
            if self._unread and self._readers and attempt is self._inner and limit is not None:
                self._unread = False
                self._set_alarm(time.monotonic() + limit)

    def _overdue(self, attempt: Any) -> None:
        if self._readers or attempt is not self._inner:
            super()._overdue(attempt)
        else:
            # It may have been answered long ago: who has not asked has not waited for it.
            self._alarm, self._unread = None, True

    def _open(self, attempt: Streamed) -> None:
        if attempt is self._inner and self._outcome is None and not self._opened:
            self._answered(attempt)

    # --- attempts -----------------------------------------------------------------------------

    def _begin(self, make: Callable[..., Any], timeout: float | None, metadata: Items) -> Any:
        assert isinstance(make, Twin)
        self._unread = False
        attempt = Streamed(make, self._take_first(), timeout, metadata, self._arguments)
        orphan = partial(_dropped, self._lock, self._call)
        self._outside(partial(attempt.start, self, orphan))
        return attempt

    def _attempt_done(self, inner: Any) -> None:
        if not self._opened:
            super()._attempt_done(inner)
        elif inner is self._inner and self._outcome is None:
            self._finish(_end_of_stream(inner))

    # --- the end ------------------------------------------------------------------------------

    def _settle(self, outcome: Outcome) -> None:
        if outcome.ok and not outcome.fallback:
            self._opened = True
            if self._inner.code is not None:
                self._finish(_end_of_stream(self._inner))
            else:
                self._ring()
            return
        if outcome.ok:
            try:
                self._own_answer = _messages_of(outcome.value)
            except TypeError as error:
                outcome = Failure(StatusCode.INTERNAL, str(error), error=error)
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        _report(self._call, outcome)
        super()._finish(outcome)

    def _value_of(self, outcome: Any) -> Any:
        return None  # as gRPC's: the messages are the value

    def __del__(self) -> None:
        if self._outcome is None and (self._callbacks or not self._opened):
            # Its plan has yet to let go of what it holds, or somebody wants to hear of its end: it
            # lives on for that. It needs the lock, and this may be any thread, in the midst of
            # anything.
            self._bound.limits.soon(partial(self.end_with, _DROPPED))


class StreamStreamCall(Requesting, UnaryStreamCall):
    """The same with a stream of requests."""

    def __del__(self) -> None:
        if hasattr(self, "_buffer"):
            self._buffer.close()
            super().__del__()


def _end_of_stream(attempt: Streamed) -> Outcome:
    return Success(attempt) if attempt.code is StatusCode.OK else attempt.failure(True)


def _report(call: Call, end: Outcome) -> None:
    """Tell the layers of a stream's end."""
    hooks, call.at_end = call.at_end or (), None
    for hook in hooks:
        hook(end)


def _dropped(lock: Any, call: Call) -> None:
    """The stream of a call that nobody has any more has ended."""
    with lock:
        _report(call, _DROPPED)


def _messages_of(answer: Any) -> Iterator[Any]:
    """The messages of a fallback. Raises TypeError if it isn't a stream of them."""
    kind = type(answer).__name__
    if isinstance(answer, AsyncIterable):
        raise TypeError(
            f"the fallback of a sync call with a stream of responses is {kind}, an async iterable: "
            "it has to be a plain one"
        )
    if isinstance(answer, Iterable):
        return iter(answer)
    raise TypeError(f"the fallback of a call with a stream of responses is {kind}, no iterable")
