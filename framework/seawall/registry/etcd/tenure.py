"""What this process holds in etcd: its keys, the lease they hang on, and those who see to both."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import RegistrationRestored
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd import writes
from seawall.registry.etcd.backoff import Retry, end, persist
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.guard import Guard
from seawall.registry.etcd.lease import Lease
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.rpc import REVOKE, TXN, Away, Busy, NoSuchLease
from seawall.registry.etcd.session import Session
from seawall.registry.etcd.url import EtcdUrl
from seawall.registry.etcd.writes import BATCH, Entry


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
        self._entries: dict[bytes, Entry] = {}
        self._removed: dict[bytes, Entry] = {}
        """Keys to delete."""
        self._restoring: str | None = None
        self._work = asyncio.Event()
        self._settling: list[asyncio.Future[None]] = []
        self._sending = False
        self._unsure = False
        """A write was not answered: it may come at any time, even after later ones."""
        self._retired: list[int] = []
        """Leases to be revoked: a late write that was sent with one fails from then on."""
        self.problem: str | None = None
        """Why etcd has not taken the last write, in words."""
        self._guard = self._new_guard()
        self._tasks = [
            persist(self._write, "seawall etcd write"),
            persist(self._lease.keep, "seawall etcd keep-alive"),
        ]

    @property
    def empty(self) -> bool:
        return not self._entries

    @property
    def held(self) -> bool:
        """Whether there is a lease and, as far as is known, all keys hang on it."""
        return bool(self._lease.id) and all(e.written for e in list(self._entries.values()))

    def want(self, owner: object, values: Mapping[bytes, bytes]) -> asyncio.Future[None]:
        """From now on ``owner`` holds exactly these keys. Done when etcd has them so.

        Fails with ``RegistryError`` if etcd refuses. An outage only makes it take longer.
        """
        self._forget(owner, values)
        for key, value in values.items():
            old = self._entries.get(key)
            if old is None or old.value != value or not old.written:
                known = old or self._removed.pop(key, None)
                self._entries[key] = Entry(owner, value, known.lease if known else 0)
            elif old is not None:
                old.owner = owner
        settled = asyncio.get_running_loop().create_future()
        if self._settled:
            settled.set_result(None)
        else:
            self._settling.append(settled)
        self._work.set()
        return settled

    def _forget(self, owner: object | None, kept: Mapping[bytes, bytes]) -> None:
        for key in [k for k, entry in self._entries.items() if entry.owner is owner]:
            if key not in kept:
                entry = self._entries.pop(key)
                if entry.lease:
                    self._removed[key] = entry

    @property
    def _settled(self) -> bool:
        if self._sending or self._removed or self._unsure or self._retired:
            return False
        return all(entry.written for entry in self._entries.values())

    def drop(self, owner: object | None) -> asyncio.Future[None]:
        """``owner`` (None = everybody) holds nothing any more. Done when etcd has it so."""
        owners = {id(entry.owner): entry.owner for entry in self._entries.values()}
        for each in owners.values() if owner is None else ():
            self._forget(each, {})
        return self.want(owner, {})

    async def give_back(self) -> None:
        """Revoke the lease."""
        await self._lease.revoke()

    async def stop(self) -> None:
        """End all tasks. What etcd still has runs out with the lease."""
        try:
            await end(self._tasks)
        finally:
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
                self.problem = str(problem)
                self._refused(problem)
                await retry.pause(problem)
            else:
                self.problem = None
                retry.reset()
                self._outage.end(self)
                await self._settle()

    async def _flush(self, session: Session) -> None:
        """One step towards what is wanted: new values first, so that nobody sees a gap."""
        if self._unsure:
            await self._change_lease(session)
        unwritten = (item for item in self._entries.items() if not item[1].written)
        puts = dict(islice(unwritten, BATCH))
        if puts:
            await self._put(session, puts)
            return
        if gone := dict(islice(self._removed.items(), BATCH)):
            await self._delete(session, gone)
            return
        while self._retired:
            with suppress(NoSuchLease):
                await session.call(REVOKE, wire.LeaseRevokeRequest(ID=self._retired[0]))
            del self._retired[0]

    async def _change_lease(self, session: Session) -> None:
        """Put everything under another lease, so that writes with the old one can't count."""
        if self._lease.id:
            self._retired.append(await self._lease.renew(session))
            for entry in self._entries.values():
                entry.written = False
        self._unsure = False

    async def _send(self, session: Session, request: wire.TxnRequest) -> wire.TxnResponse:
        try:
            return await session.call(TXN, request)
        except Away:
            self._unsure = True
            raise

    async def _put(self, session: Session, wanted: Mapping[bytes, Entry]) -> None:
        lease = await self._lease.held(session)
        # While the lease was granted, some may have been given up.
        puts = {key: entry for key, entry in wanted.items() if self._entries.get(key) is entry}
        if not puts:
            return
        request = writes.puts(puts, lease)
        before = [entry.lease for entry in puts.values()]
        for entry in puts.values():
            # Noted before it is sent: the answer may get lost, and the put not.
            entry.lease, entry.written = lease, True
        self._sending = True
        try:
            reply = await self._send(session, request)
        except BaseException as problem:
            for entry, held in zip(puts.values(), before, strict=True):
                entry.written = False
                entry.lease = held if _permanent(problem) else lease
            raise
        finally:
            self._sending = False
        for entry in puts.values():
            entry.revision = reply.header.revision

    async def _delete(self, session: Session, gone: Mapping[bytes, Entry]) -> None:
        for request in (writes.farewells(gone), writes.deletions(gone)):
            await self._send(session, request)
        for key, entry in gone.items():
            if self._removed.get(key) is entry:
                del self._removed[key]

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
                settled.exception()  # seen, even if nobody waits for it any more

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

    def _lease_lost(self, reason: str, lease: int) -> None:
        self._retired.append(lease)
        self._put_again(set(self._entries), reason)

    def _put_again(self, keys: set[bytes], reason: str) -> None:
        lost = [entry for key in keys if (entry := self._entries.get(key)) and entry.written]
        if lost or self._restoring is not None:
            self._restoring = reason
        for entry in lost:
            entry.written = False
        self._work.set()


def _permanent(problem: BaseException) -> bool:
    return isinstance(problem, RegistryError) and not isinstance(problem, RegistryUnavailable)
