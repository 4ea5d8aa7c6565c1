"""Batches of operations at gRPC's core, each carried to its end, whoever waits for it or doesn't.

grpc.aio awaits a batch on a future, and frees what it has handed to the core when its awaiter goes
on. If that one was cancelled, or the batch fails, nobody does (seen with 1.85;
https://github.com/grpc/grpc/issues/43360): 100 to 1000 bytes are lost for every call that ends
half-way, in servers and clients alike. Here a batch goes on by itself when the core has done it,
and then tells whoever still waits.

This needs names that grpc.aio doesn't promise to keep. Where one is missing or means something
else, or with ``SEAWALL_GRPC=public``, grpc.aio is used as it is.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from asyncio import _get_running_loop
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

core: Any = import_module("grpc._cython.cygrpc")

Names = Mapping[str, Sequence[str] | None]
"""Functions with the names of their parameters; classes with None."""

_NEEDED: Final[Names] = {
    "execute_batch": ("grpc_call_wrapper", "operations", "loop"),
    "_handle_callback_wrapper": ("callback_wrapper", "success"),
}
_ONCE: Final = (None,)
_execute: Any = getattr(core, "execute_batch", None)


def public_only() -> bool:
    """Whether more of gRPC than it promises must not be used: ``SEAWALL_GRPC=public``."""
    return os.environ.get("SEAWALL_GRPC", "").strip().lower() == "public"


def usable(names: Names = MappingProxyType({})) -> bool:
    """Whether this grpcio's core has what batches need, and ``names``, and nobody minds."""
    if public_only():
        return False
    return all(_has(name, parameters) for name, parameters in {**_NEEDED, **names}.items())


@cache
def _has(name: str, parameters: Sequence[str] | None) -> bool:
    found = _execute if name == "execute_batch" else getattr(core, name, None)
    if found is None or parameters is None:
        return found is not None
    try:
        return tuple(inspect.signature(found).parameters) == parameters
    except (TypeError, ValueError):
        return False


class Batch:
    """A batch under way. It takes the places of the loop and the future that grpc.aio asks for: so
    it needs neither a task nor a turn of the event loop to go on."""

    __slots__ = ("_coroutine", "_loop", "failure")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.failure: BaseException | None = None
        """What grpc.aio would have raised."""

    def start(self, call: Any, operations: tuple[Any, ...]) -> None:
        """Hand the operations to the core. Raises what grpc.aio raises if it won't have them."""
        self._coroutine = coroutine = _execute(call, operations, self)
        coroutine.send(None)

    def over(self) -> None:
        """The core has done it, well or not; what it has brought can be read. Not called once the
        event loop is closed."""
        raise NotImplementedError

    # --- as the event loop ------------------------------------------------------------------

    def create_future(self) -> Batch:
        return self

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        # What the core has done is heard of on whichever event loop that gRPC knows.
        if _get_running_loop() is not self._loop:
            try:
                self._loop.call_soon_threadsafe(function, *arguments)
                return
            except RuntimeError:  # closed: what the batch holds is freed here
                pass
        function(*arguments)

    # --- as the future ----------------------------------------------------------------------

    def __await__(self) -> Iterator[None]:
        return iter(_ONCE)

    def cancelled(self) -> bool:
        return False

    def set_result(self, _: None) -> None:
        try:
            self._free()
            if not self._loop.is_closed():  # or nobody is left to tell
                self.over()
        except BaseException as error:
            # In the core's callback it would be lost.
            if not self._loop.is_closed():
                self._loop.call_soon(_raise, error)

    def _free(self) -> None:
        coroutine, self._coroutine = self._coroutine, None
        try:
            coroutine.send(None)
        except StopIteration:
            pass
        except Exception as error:  # what has been brought can't be taken in
            self.failure = error

    def set_exception(self, error: BaseException) -> None:
        self.failure = error
        self.set_result(None)


class _Awaited(Batch):
    """A batch that grpc.aio awaits."""

    __slots__ = ("waiter",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.waiter: asyncio.Future[None] = loop.create_future()

    def over(self) -> None:
        if self.waiter.done():
            return  # its awaiter was cancelled
        if self.failure is None:
            self.waiter.set_result(None)
        else:
            self.waiter.set_exception(self.failure)


def _execute_batch(call: Any, operations: tuple[Any, ...], loop: Any) -> asyncio.Future[None]:
    batch = _Awaited(loop)
    batch.start(call, operations)
    return batch.waiter


def free_all() -> None:
    """From now on no batch of this process is left unfreed, whoever uses grpc.aio in it."""
    if usable():
        core.execute_batch = _execute_batch


def _raise(error: BaseException) -> None:
    raise error
