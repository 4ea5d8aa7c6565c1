"""etcd's answers from memory, as bytes: for what the client makes of them, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.rpc import Reply, Request, Rpc

_REVISION = 1000


class CannedSession:
    """Stands in for ``Session``: one listing, then whatever is pushed."""

    def __init__(self, entries: Mapping[bytes, bytes]) -> None:
        self.endpoint = "memory"
        self.timeout = 5.0
        self.gone = asyncio.Event()
        self.watched = asyncio.Event()
        """Set when a watch has been asked for."""
        self.header = wire.ResponseHeader(cluster_id=1, revision=_REVISION, raft_term=1)
        self._revision = _REVISION
        listing = wire.TxnResponse(header=self.header)
        kvs = [wire.KeyValue(key=key, value=value, lease=1) for key, value in entries.items()]
        listing.responses.add(response_range=wire.RangeResponse(kvs=kvs))
        self._listing = listing.SerializeToString()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    def answer(self, entries: Mapping[bytes, bytes]) -> bytes:
        """A watch's answer: these entries were put."""
        self._revision += 1
        answer = wire.WatchResponse()
        for key, value in entries.items():
            kv = wire.KeyValue(key=key, value=value, lease=1, mod_revision=self._revision)
            answer.events.add(type=wire.Event.PUT, kv=kv)
        return answer.SerializeToString()

    def push(self, answer: bytes) -> None:
        self._answers.put_nowait(answer)

    async def call(self, rpc: Rpc[Request, Reply], request: Request) -> Reply:
        return rpc.reply.FromString(self._listing)

    def stream(self, rpc: Rpc[Request, Reply], *, leader: bool = False) -> CannedStream:
        return CannedStream(self._answers, self.watched)

    async def close(self) -> None:
        """There is nothing to close."""


class CannedStream:
    """Stands in for the watch's ``Stream``."""

    def __init__(self, answers: asyncio.Queue[bytes], watched: asyncio.Event) -> None:
        self._answers = answers
        self._watched = watched

    async def send(self, request: object) -> None:
        self._answers.put_nowait(wire.WatchResponse(created=True).SerializeToString())
        self._watched.set()

    async def receive(self, within: float | None = None) -> wire.WatchResponse:
        return wire.WatchResponse.FromString(await self._answers.get())

    def close(self) -> None:
        """There is nothing to close."""
