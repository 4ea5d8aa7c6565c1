"""Sync calls with one response: unary-unary and stream-unary."""

from __future__ import annotations

from typing import Any

from seawall.transport.sync.requesting import Requesting
from seawall.transport.sync.rpc import SyncRpc


class UnaryUnaryCall(SyncRpc):
    """A call under way; the interface of what gRPC's ``future()`` returns."""

    def answer(self) -> Any:
        """Carry the call on this thread to its response. Raises its error.

        Whatever interrupts it, as Ctrl-C does, cancels the call, here and at the server.
        """
        outcome = self.drive()
        if outcome.ok:
            return self._value_of(outcome)
        raise self._error(outcome)


class StreamUnaryCall(Requesting, UnaryUnaryCall):
    """The same with a stream of requests."""
