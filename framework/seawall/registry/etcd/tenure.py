"""What this process holds in etcd: its keys, the lease they hang on, and those who see to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import RegistrationRestored
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.backoff import Retry, persist
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.guard import Guard
from seawall.registry.etcd.lease import Lease
from seawall.registry.etcd.naming import farewell
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.rpc import TXN, Busy, NoSuchLease
from seawall.registry.etcd.session import Session
from seawall.registry.etcd.url import EtcdUrl

_BATCH: Final = 100
"""Operations in one transaction; etcd by default takes 128."""


@dataclass(slots=True)
class _Entry:
    owner: object
    value: bytes
    lease: int = 0
    """The lease it was last sent with; 0 = etcd can't know it."""
    revision: int = 0
    """Where it was last put."""
    written: bool = False


class Tenure:
    """Keeps what it is told to keep, whatever happens to etcd.

    One task writes: it brings etcd from whatever it has to what is wanted here, so no two writes
    of this process ever cross. A second keeps the lease alive; a third watches the keys and has
    the first put them again when they are gone.
    """

    def __init__(self, client: Client, outage: Outage, url: EtcdUrl) -> None:
        self._client = client
        self._outage = outage
        self._url = url
        self._lease = Lease(client, url.ttl, self._lease_lost)
        self._entries: dict[bytes, _Entry] = {}
        self._removed: dict[bytes, _Entry] = {}
        """Keys to delete."""
        self._restoring: str | None = None
        self._work = asyncio.Event()
        self._settling: list[asyncio.Future[None]] = []
        self._sending = False
        self._guard = self._new_guard()
        self._tasks = [
            persist(self._write, "seawall etcd write"),
            persist(self._lease.keep, "seawall etcd keep-alive"),
        ]

    @property
    def empty(self) -> bool:
        return not self._entries

    def want(self, owner: object, values: Mapping[bytes, bytes]) -> asyncio.Future[None]:
        """From now on ``owner`` holds exactly these keys. Done when etcd has them so.

        Fails with ``RegistryError`` if etcd refuses. An outage only makes it take longer.
        """
        for key in [k for k, entry in self._entries.items() if entry.owner is owner]:
            if key not in values:
                entry = self._entries.pop(key)
                if entry.lease:
                    self._removed[key] = entry
        for key, value in values.items():
            old = self._entries.get(key)
            if old is None or old.value != value or not old.written:
                known = old or self._removed.pop(key, None)
                self._entries[key] = _Entry(owner, value, known.lease if known else 0)
            elif old is not None:
                old.owner = owner
        settled = asyncio.get_running_loop().create_future()
        if self._settled:
            settled.set_result(None)
        else:
            self._settling.append(settled)
        self._work.set()
        return settled

    @property
    def _settled(self) -> bool:
        if self._sending or self._removed:
            return False
        return all(entry.written for entry in self._entries.values())

    def drop(self, owner: object | None) -> asyncio.Future[None]:
        """``owner`` (None = everybody) holds nothing any more. Done when etcd has it so."""
        if owner is not None:
            return self.want(owner, {})
        settled = self.want(None, {})
        for each in {id(entry.owner): entry.owner for entry in self._entries.values()}.values():
            settled = self.want(each, {})
        return settled

    async def give_back(self) -> None:
        """Revoke the lease."""
        await self._lease.revoke()

    async def stop(self) -> None:
        """End all tasks. What etcd still has runs out with the lease."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._guard.stop()
        self._outage.end(self)
        self._fail(RegistryError(f"{self._url} was closed in the meantime"))

    # The writer

    async def _write(self) -> None:
        retry = Retry()
        while True:
            await self._work.wait()
            try:
                if not self._settled:
                    await self._flush(await self._client.session())
            except NoSuchLease:
                self._lease.lose("etcd had dropped its lease")
                await retry.pause(Busy("the lease is gone"))
            except RegistryError as problem:
                self._refused(problem)
                await retry.pause(problem)
            else:
                retry.reset()
                self._outage.end(self)
                await self._settle()

    async def _flush(self, session: Session) -> None:
        """One step towards what is wanted: new values first, so that nobody sees a gap."""
        unwritten = (item for item in self._entries.items() if not item[1].written)
        puts = dict(islice(unwritten, _BATCH))
        if puts:
            await self._put(session, puts)
            return
        gone = dict(islice(self._removed.items(), _BATCH))
        for request in (_each(_farewell, gone), _each(_delete, gone)):
            await session.call(TXN, request)
        for key, entry in gone.items():
            if self._removed.get(key) is entry:
                del self._removed[key]

    async def _put(self, session: Session, puts: Mapping[bytes, _Entry]) -> None:
        lease = await self._lease.held(session)
        request = wire.TxnRequest()
        for key, entry in puts.items():
            put = wire.PutRequest(key=key, value=entry.value, lease=lease)
            request.success.add(request_put=put)
        before = [entry.lease for entry in puts.values()]
        for entry in puts.values():
            # Noted before it is sent: the answer may get lost, and the put not.
            entry.lease, entry.written = lease, True
        self._sending = True
        try:
            reply = await session.call(TXN, request)
        except BaseException as problem:
            for entry, held in zip(puts.values(), before, strict=True):
                entry.written = False
                entry.lease = held if _permanent(problem) else lease
            raise
        finally:
            self._sending = False
        for entry in puts.values():
            entry.revision = reply.header.revision

    async def _settle(self) -> None:
        """After a flush: is all as it is wanted?"""
        if not self._settled:
            return
        self._work.clear()
        if self._restoring is not None:
            reason, self._restoring = self._restoring, None
            self._outage.tell(RegistrationRestored(str(self._url), reason))
        settling, self._settling = self._settling, []
        for settled in settling:
            if not settled.done():
                settled.set_result(None)
        if self._guard.keys != self._entries.keys():
            await self._guard.stop()
            self._guard = self._new_guard()

    def _refused(self, problem: RegistryError) -> None:
        """Tell whoever waits, unless it is an outage, which they wait out."""
        if not _permanent(problem):
            return
        self._fail(problem)
        if self._entries:
            self._outage.begin(self, str(problem))

    def _fail(self, problem: RegistryError) -> None:
        settling, self._settling = self._settling, []
        for settled in settling:
            if not settled.done():
                settled.set_exception(problem)

    # What takes keys away

    def _new_guard(self) -> Guard:
        keys = frozenset(self._entries)
        return Guard(
            self._client,
            self._outage,
            self._url.user,
            keys,
            self._revision_of,
            self._removed_by_others,
        )

    def _revision_of(self, key: bytes) -> int | None:
        entry = self._entries.get(key)
        return entry.revision if entry is not None and entry.written else None

    def _removed_by_others(self, keys: set[bytes]) -> None:
        self._put_again(keys, "somebody had removed its keys")

    def _lease_lost(self, reason: str) -> None:
        self._put_again(set(self._entries), reason)

    def _put_again(self, keys: set[bytes], reason: str) -> None:
        lost = [entry for key in keys if (entry := self._entries.get(key)) and entry.written]
        if lost or self._restoring is not None:
            self._restoring = reason
        for entry in lost:
            entry.written = False
        self._work.set()


def _each(
    operation: Callable[[bytes, _Entry], wire.RequestOp], entries: Mapping[bytes, _Entry]
) -> wire.TxnRequest:
    """Do something to each key that is still ours: another process may have taken it over."""
    request = wire.TxnRequest()
    for key, entry in entries.items():
        lease = wire.Compare.LEASE
        ours = wire.Compare(target=lease, result=wire.Compare.EQUAL, key=key, lease=entry.lease)
        nested = wire.TxnRequest(compare=[ours], success=[operation(key, entry)])
        request.success.add(request_txn=nested)
    return request


def _farewell(key: bytes, entry: _Entry) -> wire.RequestOp:
    put = wire.PutRequest(key=key, value=farewell(entry.value), lease=entry.lease)
    return wire.RequestOp(request_put=put)


def _delete(key: bytes, entry: _Entry) -> wire.RequestOp:
    return wire.RequestOp(request_delete_range=wire.DeleteRangeRequest(key=key))


def _permanent(problem: BaseException) -> bool:
    return isinstance(problem, RegistryError) and not isinstance(problem, RegistryUnavailable)
