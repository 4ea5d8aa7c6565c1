"""What can be asked of a sync call: the interfaces of ``grpc.Call`` and ``grpc.Future``."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
from grpc import StatusCode

from seawall.call import Failure, Outcome
from seawall.transport.attempting import CANCELLED
from seawall.transport.story import explained
from seawall.transport.sync import processes
from seawall.transport.sync.driver import SyncDriver
from seawall.transport.sync.errors import sync_error_of, traceback_of
from seawall.transport.sync.user_code import call_back
from seawall.transport.translate import CallError


class SyncRpc(SyncDriver, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call under way that any thread may ask, wait for, or cancel."""

    # --- its state, at once -------------------------------------------------------------------

    def cancelled(self) -> bool:
        """Whether it was cancelled here; a server that cancels it makes it fail."""
        return self._outcome is CANCELLED

    def done(self) -> bool:
        return self._outcome is not None

    def running(self) -> bool:
        return self._outcome is None

    def is_active(self) -> bool:
        return self._outcome is None

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Seconds until the deadline; None = there is none."""
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def explain(self) -> str:
        """The story of the call so far: each failed attempt, and what the policies said."""
        return explained(self._call, self._outcome, self._winning(), self._error)

    # --- its end ------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """The response. Raises the call's error, ``grpc.FutureCancelledError`` if it was cancelled
        here, ``grpc.FutureTimeoutError`` if it takes longer than ``timeout`` seconds."""
        outcome = self._ending(timeout)
        if outcome.ok:
            return self._value_of(outcome)
        if outcome is CANCELLED:
            raise grpc.FutureCancelledError
        raise self._error(outcome)

    def exception(self, timeout: float | None = None) -> CallError | None:
        """The call's error; None if it succeeded. Raises as ``result`` does otherwise."""
        outcome = self._ending(timeout)
        if outcome is CANCELLED:
            raise grpc.FutureCancelledError
        return None if outcome.ok else self._error(outcome)

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """The traceback of raising that error."""
        error = self.exception(timeout)
        return None if error is None else traceback_of(error)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this call when it has ended, on a thread for callbacks; at once, and
        here, if it has."""
        if not self._add(fn):
            call_back((fn,), self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` when the call has ended. False, and not called, if it has."""
        return self._add(lambda _: callback())

    def _add(self, callback: Callable[[Any], None]) -> bool:
        processes.check(self._bound.pid)
        with self._lock:
            if self._outcome is not None:
                return False
            self._callbacks = [*(self._callbacks or ()), callback]
            return True

    def code(self) -> StatusCode:
        """The call's status; waits for its end."""
        outcome = self._ending()
        return StatusCode.OK if outcome.ok else outcome.code

    def details(self) -> str:
        """What the status says in words; waits for the call's end."""
        outcome = self._ending()
        if outcome.ok:
            return "" if outcome.fallback else (self._inner.call.details() or "")
        return outcome.details

    def debug_error_string(self) -> str:
        outcome = self._ending()
        return "" if outcome.ok else (self._error(outcome).debug_error_string() or "")

    def trailing_metadata(self) -> Any:
        """The metadata after the response; waits for the call's end."""
        outcome = self._ending()
        if outcome.ok and outcome.fallback:
            return outcome.trailing
        return self._metadata_of("trailing_metadata", outcome)

    def initial_metadata(self) -> Any:
        """The metadata of the attempt that is answered, as soon as its server has sent it."""
        while self._outcome is None:
            attempt = self._attempt_in_hand()
            if attempt is None:
                break
            metadata = attempt.call.initial_metadata()
            if attempt is self._inner:
                return metadata
        outcome = self._ending()
        return (
            ()
            if outcome.ok and outcome.fallback
            else self._metadata_of("initial_metadata", outcome)
        )

    # --- below that ---------------------------------------------------------------------------

    def _ending(self, timeout: float | None = None) -> Outcome:
        """Wait for the end. Raises ``grpc.FutureTimeoutError``."""
        processes.check(self._bound.pid)
        if not self.wait_until(lambda: self._outcome is not None, timeout):
            raise grpc.FutureTimeoutError
        assert self._outcome is not None
        return self._outcome

    def _attempt_in_hand(self) -> Any:
        """Wait until gRPC has one; None if the call ends first."""
        self.wait_until(lambda: self._outcome is not None or self._is_sent())
        attempt = self._inner
        return attempt if attempt is not None and attempt.call is not None else None

    def _is_sent(self) -> bool:
        attempt = self._inner
        return attempt is not None and attempt.call is not None

    def _value_of(self, outcome: Any) -> Any:
        return outcome.value if outcome.fallback else outcome.value.message()

    def _metadata_of(self, which: str, outcome: Outcome) -> Any:
        source = self._inner.call if outcome.ok else self._error(outcome)
        return getattr(source, which)() or ()

    def _error(self, failure: Failure) -> CallError:
        return sync_error_of(self._call, failure)
