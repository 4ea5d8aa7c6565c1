"""The one lease of a process: granted, kept alive, lost, granted anew."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from seawall.clock import Clock, Random
from seawall.errors import RegistryError
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.backoff import Retry
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.rpc import GRANT, KEEP_ALIVE, REVOKE, Busy, NoSuchLease
from seawall.registry.etcd.session import Session


class Lease:
    """What all keys of this process hang on. ``when_lost`` is told why it was lost, and
    its id: etcd may have it for a while yet."""

    def __init__(
        self,
        client: Client,
        ttl: int,
        when_lost: Callable[[str, int], None],
        clock: Clock = time.monotonic,
        chance: Random = random.random,
    ) -> None:
        self.id = 0
        """0 = none."""
        self._client = client
        self._ttl = ttl
        self._when_lost = when_lost
        self._clock = clock
        self._chance = chance
        self._deadline = 0.0
        self._asked_late = False
        """Whether the last request was sent after the deadline, and not answered."""
        self._granted = asyncio.Event()

    async def held(self, session: Session) -> int:
        """The lease's id; granted first if there is none."""
        if not self.id:
            await self.renew(session)
        return self.id

    async def renew(self, session: Session) -> int:
        """Grant a new lease, to be used from now on. Returns the one before; 0 = none."""
        sent = self._clock()
        reply = await session.call(GRANT, wire.LeaseGrantRequest(TTL=self._ttl))
        if reply.error or not reply.ID:
            raise Busy(f"etcd at {session.endpoint} grants no lease: {reply.error}")
        old, self.id = self.id, reply.ID
        self._deadline = sent + reply.TTL
        self._asked_late = False
        self._granted.set()
        return old

    def lose(self, reason: str) -> None:
        """The lease is gone: the next ``held`` grants a new one."""
        if self.id:
            old, self.id = self.id, 0
            self._granted.clear()
            self._when_lost(reason, old)

    async def keep(self) -> None:
        """Keep alive whatever lease is held, until cancelled."""
        retry = Retry(self._chance)
        while True:
            await self._granted.wait()
            try:
                await self._keep_over(await self._client.session())
                retry.reset()
            except RegistryError as problem:
                await retry.pause(problem)

    async def revoke(self) -> None:
        """Give the lease back, and all that hangs on it. If etcd is away, it runs out."""
        session, lease = self._client.current, self.id
        self.id = 0
        self._granted.clear()
        if lease and session is not None:
            with suppress(NoSuchLease):
                await session.call(REVOKE, wire.LeaseRevokeRequest(ID=lease))

    async def _keep_over(self, session: Session) -> None:
        """Keep this lease alive over this session; returns when the lease is another or none."""
        lease = self.id
        # Even a short lease must survive one member that doesn't answer.
        within = min(session.timeout, max(self._ttl / 2, 0.5))
        stream = session.stream(KEEP_ALIVE)
        # Many begin at once when etcd comes back: they are spread over the whole time at once.
        least = 0.0
        try:
            while lease and self.id == lease:
                sent = self._clock()
                late = sent >= self._deadline
                if late and self._asked_late:
                    self.lose("its lease ran out while etcd did not answer")
                    return
                # An etcd that was away itself may have it yet: asked once, it tells.
                self._asked_late = late
                await stream.send(wire.LeaseKeepAliveRequest(ID=lease))
                answer = await stream.receive(within)
                if self.id != lease:
                    return
                if answer.TTL <= 0:
                    self.lose("etcd had dropped its lease")
                    return
                # Counted from before the request: etcd's clock for it started later than ours.
                self._deadline, self._asked_late = sent + answer.TTL, False
                await self._rest(session, answer.TTL / 3 * (least + (1 - least) * self._chance()))
                least = 0.8
        finally:
            stream.close()

    async def _rest(self, session: Session, seconds: float) -> None:
        """Sleep, less if the session is lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await session.gone.wait()
