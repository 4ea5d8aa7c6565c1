"""A connection to one etcd endpoint, for as long as it works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from grpc import aio

from seawall.errors import RegistryError
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.rpc import (
    AUTHENTICATE,
    RANGE,
    AuthenticationOff,
    Away,
    Reply,
    Request,
    Rpc,
    StaleToken,
    translate,
)
from seawall.registry.etcd.url import EtcdUrl

T = TypeVar("T")


class Session:
    """One endpoint that has answered. Once it is lost, it is never used again.

    A member that doesn't answer is left for another, so a problem of any call or stream here ends
    all of them: each starts again on the next session.
    """

    def __init__(
        self,
        url: EtcdUrl,
        endpoint: str,
        channel: aio.Channel,
        timeout: float,
        when_lost: Callable[[Session], None],
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        """Seconds that a read may take: those within which the endpoint has answered at first."""
        self.gone = asyncio.Event()
        """Set when the session is lost."""
        self.header: wire.ResponseHeader | None = None
        """How far the endpoint was when the session began; None if we may not read that."""
        self._url = url
        self._channel = channel
        self._when_lost = when_lost
        self._token: str | None = None
        self._authenticating = asyncio.Lock()
        self._streams: set[Stream[Any, Any]] = set()

    async def open(self) -> None:
        """Authenticate, and prove that the endpoint has a majority behind it.

        The read is linearizable: it waits until this member has seen all that any client was told
        before. So a revision lower than one that we have seen means that data was lost.
        """
        await self._authenticate()
        try:
            request = wire.RangeRequest(key=f"{self._url.namespace}/".encode())
            self.header = (await self._once(RANGE, request)).header
        except RegistryError as refused:
            # Permission for some services' keys only is enough: each of them is asked for later.
            if "permission denied" not in str(refused):
                raise

    async def call(self, rpc: Rpc[Request, Reply], request: Request) -> Reply:
        """One request, with a deadline; once more with a new token if ours has expired."""
        token = self._token
        try:
            return await self._once(rpc, request)
        except StaleToken:
            await self.refresh(token)
        try:
            return await self._once(rpc, request)
        except StaleToken as stale:
            raise self.lost(Away(str(stale))) from None

    async def refresh(self, stale: str | None) -> None:
        """Get a new token, unless somebody has replaced the stale one already."""
        async with self._authenticating:
            if self._token == stale:
                await self._authenticate()

    def stream(self, rpc: Rpc[Request, Reply], *, leader: bool = False) -> Stream[Request, Reply]:
        """Open a stream; with ``leader``, a member without a leader ends it at once."""
        if self.gone.is_set():
            raise self._away()
        open_ = self._channel.stream_stream(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.reply.FromString,
        )
        metadata = (*self._metadata(), ("hasleader", "true")) if leader else self._metadata()
        stream: Stream[Request, Reply] = Stream(self, open_(metadata=metadata), self._token)
        self._streams.add(stream)
        return stream

    def lost(self, problem: Away) -> Away:
        """Give the session up because of ``problem``, which is handed back to be raised."""
        if not self.gone.is_set():
            self.gone.set()
            self._when_lost(self)
        return problem

    async def close(self) -> None:
        """End all that runs here."""
        self.gone.set()
        for stream in tuple(self._streams):
            stream.close()
        await self._channel.close()

    async def _once(self, rpc: Rpc[Request, Reply], request: Request) -> Reply:
        if self.gone.is_set():
            raise self._away()
        call = self._channel.unary_unary(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.reply.FromString,
        )
        timeout = self.timeout * rpc.patience
        return await self.translated(call(request, timeout=timeout, metadata=self._metadata()))

    async def translated(self, step: Awaitable[T]) -> T:
        """Await a step of gRPC's; what it raises comes out as one of our own errors."""
        try:
            return await step
        except aio.AioRpcError as error:
            problem = translate(error, self.endpoint, self._url.user)
        except (asyncio.InvalidStateError, aio.UsageError, aio.InternalError):
            problem = Away(f"etcd at {self.endpoint} ended the stream")
        except asyncio.CancelledError:
            if cancelled_ourselves():
                raise
            problem = self._away()
        try:
            raise self.lost(problem) if isinstance(problem, Away) else problem
        finally:
            # The error's frames are this one too: a cycle would keep the call, and with it the
            # connection of a closed channel, until the garbage collector comes by.
            del problem, step

    async def _authenticate(self) -> None:
        if not self._url.user:
            return
        request = wire.AuthenticateRequest(name=self._url.user, password=self._url.password)
        self._token = None
        try:
            self._token = (await self._once(AUTHENTICATE, request)).token
        except AuthenticationOff:
            return

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("token", self._token),) if self._token else ()

    def _away(self) -> Away:
        return Away(f"the connection to etcd at {self.endpoint} was given up")

    def forget(self, stream: Stream[Any, Any]) -> None:
        self._streams.discard(stream)


class Stream(Generic[Request, Reply]):
    """A bidirectional stream of a session."""

    def __init__(self, session: Session, call: Any, token: str | None) -> None:
        self._session = session
        self._call = call
        self.token = token
        """What the stream was opened with."""

    async def send(self, request: Request) -> None:
        await self._within(self._session.timeout, self._call.write(request))

    async def receive(self, within: float | None = None) -> Reply:
        """The next answer. The session is lost if none comes ``within`` seconds (None = ever)."""
        answer: Any = await self._within(within, self._call.read())
        if answer is aio.EOF:
            raise self._session.lost(Away(f"etcd at {self._session.endpoint} ended the stream"))
        reply: Reply = answer
        return reply

    def close(self) -> None:
        self._session.forget(self)
        self._call.cancel()

    async def _within(self, seconds: float | None, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await self._session.translated(step)
        except TimeoutError:
            problem = f"etcd at {self._session.endpoint} does not answer (silent for {seconds:g} s)"
            raise self._session.lost(Away(problem)) from None


def cancelled_ourselves() -> bool:
    """Tells our own cancellation from that of the call, which gRPC reports in the same way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
