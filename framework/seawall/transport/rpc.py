"""What a caller can ask of a call under way: the interface of ``grpc.aio.Call``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from seawall.call import Failure, Outcome
from seawall.transport.attempting import CANCELLED
from seawall.transport.loop import LoopDriver
from seawall.transport.story import explained
from seawall.transport.translate import CallError, error_of


class Rpc(LoopDriver):
    """A driver that can be asked. Unary and streaming calls say what awaiting and reading do."""

    def cancelled(self) -> bool:
        outcome = self._outcome
        return outcome is not None and not outcome.ok and outcome.code is StatusCode.CANCELLED

    def done(self) -> bool:
        return self._outcome is not None

    def time_remaining(self) -> float | None:
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._outcome is not None:
            callback(self)
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    async def code(self) -> StatusCode:
        outcome = await self._ending()
        return StatusCode.OK if outcome.ok else outcome.code

    async def details(self) -> str:
        outcome = await self._ending()
        if outcome.ok:
            return "" if outcome.fallback else str(await self._inner.details())
        return outcome.details

    async def debug_error_string(self) -> str:
        outcome = await self._ending()
        return "" if outcome.ok else (self._error(outcome).debug_error_string() or "")

    async def trailing_metadata(self) -> Metadata:
        return await self._metadata_of("trailing_metadata", await self._ending())

    async def initial_metadata(self) -> Metadata:
        """The metadata of the attempt that is answered, as soon as its server has sent it."""
        while self._outcome is None:
            inner = await self._attempt_in_hand()
            if inner is None:
                break
            metadata: Metadata = await inner.initial_metadata()
            if inner is self._inner:
                return metadata
        return await self._metadata_of("initial_metadata", await self._ending())

    async def wait_for_connection(self) -> None:
        """Return when an attempt is connected. Raises the call's error if it has failed."""
        while self._outcome is None:
            inner = await self._attempt_in_hand()
            if inner is None:
                break
            try:
                await inner.wait_for_connection()
            except (AioRpcError, asyncio.CancelledError):
                if inner is self._inner:
                    raise
                continue  # another attempt follows, or the call has ended
            return
        if self._outcome is not None and not self._outcome.ok:
            self._raise(self._outcome)

    def explain(self) -> str:
        """The story of the call so far: each failed attempt, and what the policies said."""
        return explained(self._call, self._outcome, self._winning(), self._error)

    async def _attempt_in_hand(self) -> Any:
        """Wait until there is one; None if the call ends first."""
        while self._inner is None and self._outcome is None:
            if self._begun is None or self._begun.done():
                self._begun = self._loop.create_future()
            await asyncio.shield(self._begun)
        return self._inner

    async def _ending(self) -> Outcome:
        """Wait for the end without cancelling the call if the waiting is cancelled."""
        if self._outcome is None:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            try:
                await asyncio.shield(self._waiter)
            except asyncio.CancelledError:
                if not self._waiter.cancelled():
                    raise
        assert self._outcome is not None
        return self._outcome

    async def _metadata_of(self, which: str, outcome: Outcome) -> Metadata:
        if outcome.ok:
            if outcome.fallback:
                return Metadata(*(outcome.trailing if which == "trailing_metadata" else ()))
            return await getattr(self._inner, which)()  # type: ignore[no-any-return]
        return getattr(self._error(outcome), which)() or Metadata()

    def _error(self, failure: Failure) -> CallError:
        return error_of(self._call, failure)

    def _raise(self, outcome: Outcome | None) -> None:
        if outcome is None or outcome.ok or outcome is CANCELLED:
            raise asyncio.CancelledError
        raise self._error(outcome)
