"""A leak of gRPC's, mended for the processes of the churn, so that it can't hide one of ours.

grpc.aio (seen with 1.85; https://github.com/grpc/grpc/issues/43360, open) hands a batch of
operations to gRPC's core and frees it when its awaiter goes on. A batch that is cancelled or fails
is never freed: 100 to 1000 bytes for each call that ends half-way, on the side that gave it up, and
they lie between what could be given back. Here each batch is awaited to its end, by a task, and
fails only then. That costs a task for each batch: it is for measuring, not for serving.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

_core: Any = import_module("grpc._cython.cygrpc")
_execute_batch: Any = _core.execute_batch


class _Outcome(asyncio.Future[None]):
    """Succeeds even where the batch has failed: only then does gRPC free it."""

    failure: Exception | None = None

    def set_exception(self, error: Any, /) -> None:
        self.failure = error
        self.set_result(None)


class _Loop:
    """The event loop, whose one future is the batch's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.outcome = _Outcome(loop=loop)

    def create_future(self) -> _Outcome:
        return self.outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def _to_its_end(call: Any, operations: tuple[Any, ...], loop: Any) -> None:
    told = _Loop(loop)
    await asyncio.shield(loop.create_task(_execute_batch(call, operations, told)))
    if told.outcome.failure is not None:
        raise told.outcome.failure


def mend() -> None:
    """From now on no batch of this process is left unfreed."""
    _core.execute_batch = _to_its_end
