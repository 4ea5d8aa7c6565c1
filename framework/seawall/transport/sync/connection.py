"""One instance's sync gRPC channel, kept connected and watched from the background's loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import grpc
from grpc import ChannelConnectivity, aio

from seawall.call import Instance
from seawall.transport import connection
from seawall.transport.connection import Bound
from seawall.transport.sync import inside
from seawall.transport.sync.attempts import Catching
from seawall.transport.sync.twin import Line, Twin

CLOSER: Final = "seawall-closer"
"""Threads of this name close a channel each: gRPC waits for its calls' last news then."""

_FIRST_LOOK: Final = 0.001
"""Seconds between two looks at a channel's state while it changes; twice as many each time."""
_AWAY: Final = 0.02
"""The most, of one that is not connected: so much later than it could be is it called."""
_READY: Final = 0.1
"""The most, of one that is: who finds it broken before is a call that fails, and then it is looked
at."""
_STATES: Final = {state.value[0]: state for state in ChannelConnectivity}


class SyncConnection(connection.Connection):
    """A sync channel to one instance; what ``Connection`` is to the aio stack.

    Made, started and closed on the background's event loop; ``bind`` and ``connected`` are for
    whoever holds ``lock``, under which the channel is replaced, too.

    Its state is looked at again and again: gRPC's own way of telling it has a thread for each
    channel that does the same, and closing has to wait for that thread's next turn.
    """

    _stack: Any = grpc

    def __init__(
        self,
        instance: Instance,
        on_state: Callable[[bool, str | None], None],
        credentials: grpc.ChannelCredentials | None,
        lock: threading.RLock,
    ) -> None:
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._line: Line
        super().__init__(instance, on_state, credentials)

    def start(self) -> None:
        # Not at once, as the lock is held here.
        self._loop.call_soon(self._follow, self._line)

    def bind(self, bound: Bound) -> Any:
        """Make the multi-callable of this channel that stands behind ``bound``, and keep it.

        The framework's own methods come as ``Twin``; others, as that of the health check, are to
        be awaited.
        """
        if self._line.closing:
            # Registering a method on a closed channel is the end of the process (grpcio 1.85).
            raise ValueError(f"the connection to {self._instance.address} is being closed")
        make = bound.bind(self._channel)
        twin: Any
        if getattr(bound, "sync", False):
            twin = Twin(make, self._line, blocks=_can_block(make))
        else:
            twin = partial(_awaited, make)
        self.callables[bound] = twin
        return twin

    @property
    def connected(self) -> bool:
        state = inside.connectivity(self._channel)
        well = state in (None, ChannelConnectivity.READY.value[0])
        if self._up and not well:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._look, self._line, _FIRST_LOOK)
        return self._up and well

    def _open(self) -> Any:
        return self._as_line(super()._open())

    def _open_socket(self, path: str) -> Any:
        return self._as_line(super()._open_socket(path))

    def _as_line(self, channel: grpc.Channel) -> grpc.Channel:
        inside.tell_ends_of_streams(channel)
        self._line = Line(channel)
        return channel

    # --- its state ----------------------------------------------------------------------------

    def _follow(self, line: Line) -> None:
        """Have the line connected, and its states told, from now on."""
        if line.closing:
            return
        if inside.connectivity(line.channel) is not None:
            self._look(line, _FIRST_LOOK)
        else:
            self._subscribe(line)

    def _look(self, line: Line, delay: float) -> None:
        """See what its state is, ask gRPC to connect if it has to be asked, and look again."""
        if line.next_look is not None:
            line.next_look.cancel()
        number = None if line.closing else inside.connectivity(line.channel, try_to_connect=True)
        state = None if number is None else _STATES[number]
        if state in (None, ChannelConnectivity.SHUTDOWN):
            return
        if state is not line.state:
            line.state, delay = state, _FIRST_LOOK
            self._hear(line, state)
        most = _READY if state is ChannelConnectivity.READY else _AWAY
        line.next_look = self._loop.call_later(delay, self._look, line, min(2 * delay, most))

    def _subscribe(self, line: Line) -> None:
        line.on_state = partial(self._told, line)
        line.channel.subscribe(line.on_state, try_to_connect=True)

    def _told(self, line: Line, state: ChannelConnectivity) -> None:
        """On one of gRPC's threads."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._hear, line, state)

    def _hear(self, line: Line, state: ChannelConnectivity) -> None:
        if line.closing:
            return
        with self._lock:
            stays = self._heard(state)
        if stays and state is ChannelConnectivity.IDLE and line.on_state is not None:
            # gRPC's own channel stays idle until somebody calls, or asks.
            line.channel.unsubscribe(line.on_state)
            self._subscribe(line)

    def _fall_back(self, path: str) -> None:
        super()._fall_back(path)
        self._loop.call_soon(self._follow, self._line)

    # --- its end ------------------------------------------------------------------------------

    def _closing(self, grace: float | None) -> Coroutine[Any, Any, None]:
        with self._lock:  # whoever binds a method to it has done so, or won't
            self._line.closing = True
        return self._close_line(self._line, grace)

    async def _close_line(self, line: Line, grace: float | None) -> None:
        if line.next_look is not None:
            line.next_look.cancel()
        if line.on_state is not None:
            line.channel.unsubscribe(line.on_state)
        if grace:
            await self._until_idle(line, grace)
        await in_thread(partial(inside.close, line.channel))

    async def _until_idle(self, line: Line, grace: float) -> None:
        idle = asyncio.Event()
        line.on_idle = partial(self._tell, idle)
        if not line.users:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await idle.wait()

    def _tell(self, idle: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(idle.set)


def _can_block(make: Any) -> bool:
    return hasattr(make, "with_call") and inside.catch_inner_calls(make, Catching)


async def in_thread(function: Callable[[], object]) -> None:
    """Wait for ``function`` on a daemon thread of its own: one that hangs keeps no process."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            function()
        finally:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name=CLOSER, daemon=True).start()
    await done.wait()


async def _awaited(make: Any, request: Any, timeout: float | None = None) -> Any:
    """A sync multi-callable's answer, for a coroutine. Raises ``grpc.aio.AioRpcError``."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        call = make.future(request, timeout=timeout)
    except ValueError as error:
        raise aio.UsageError(str(error)) from None

    def tell() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    if call.add_callback(tell):
        try:
            await ended.wait()
        finally:
            call.cancel()
    if call.code() is not grpc.StatusCode.OK:
        raise aio.AioRpcError(call.code(), aio.Metadata(), aio.Metadata(), call.details())
    return call.result()
