"""The thin client: one connection at a time, to whichever endpoint works."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from typing import Final

from seawall.clock import Clock, Random
from seawall.errors import RegistryError, RegistryUnavailable
from seawall.registry.etcd.backoff import BRISK, CALM, PATIENT, delay
from seawall.registry.etcd.channel import knock, open_channel
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.rpc import BadTls, Slow
from seawall.registry.etcd.session import Session, cancelled_ourselves
from seawall.registry.etcd.tls import out_of_date
from seawall.registry.etcd.url import EtcdUrl

TIMEOUT: Final = 1.0
"""Seconds in which a healthy etcd answers a read; more only if none of the endpoints does."""
MAX_TIMEOUT: Final = 4.0
_YOUNG: Final = 15.0
"""Seconds for which an outage is met with brisk reconnections."""
_SETTLED: Final = 5.0
"""Seconds after which a session counts as having worked."""


class Client:
    """Gives out the session that works now; finds the next one when it is lost.

    However many loops wait for a session, one task connects, with jittered back-off: an outage
    costs the same with one watch as with a hundred.
    """

    def __init__(
        self,
        url: EtcdUrl,
        outage: Outage,
        clock: Clock = time.monotonic,
        chance: Random = random.random,
    ) -> None:
        self.current: Session | None = None
        self._url = url
        self._outage = outage
        self._clock = clock
        self._chance = chance
        # Another first endpoint in each process spreads the load over the members.
        self._endpoints = deque(url.endpoints)
        self._endpoints.rotate(int(chance() * len(self._endpoints)))
        self._opened = 0.0
        self._hasty = 0
        self._connecting: asyncio.Task[Session] | None = None
        self._waiting = 0
        self._ending: set[asyncio.Task[object]] = set()
        self._closed = False

    async def session(self) -> Session:
        """The session that works, or the next one that does, however long that takes.

        Raises ``RegistryError`` if etcd refuses us (credentials, TLS). Trying again is allowed.
        """
        if self._closed:
            raise RegistryError(f"{self._url} is closed")
        if self.current is not None:
            return self.current
        task = self._connecting
        if task is None:
            task = self._connecting = asyncio.create_task(
                self._connect(), name="seawall etcd connect"
            )
        self._waiting += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if cancelled_ourselves():
                raise
            raise RegistryError(f"{self._url} is closed") from None
        finally:
            self._waiting -= 1
            if self._connecting is task and (task.done() or not self._waiting):
                # Nobody wants a session any more, or the next who does starts anew.
                self._connecting = None
                self._end(task)

    async def close(self) -> None:
        """Close the connection. Whoever waits for a session gets ``RegistryError``."""
        self._closed = True
        if self._connecting is not None:
            task, self._connecting = self._connecting, None
            self._end(task)
        if self.current is not None:
            self.current.gone.set()
            self._dropped(self.current)
        while self._ending:
            await asyncio.wait(tuple(self._ending))

    def _end(self, task: asyncio.Task[Session]) -> None:
        if not task.done():
            task.cancel()
            self._keep(task)

    def _keep(self, task: asyncio.Task[object]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _connect(self) -> Session:
        started, rounds, timeout, slow = self._clock(), 0, TIMEOUT, False
        while True:
            young = self._hasty < 3 and self._clock() - started < _YOUNG
            # One that is too slow may have too many who try.
            longest = PATIENT if slow else BRISK if young else CALM
            await asyncio.sleep(delay(self._hasty + rounds, longest, self._chance))
            problems: list[RegistryError] = []
            for endpoint in tuple(self._endpoints):
                try:
                    if rounds:
                        await knock(endpoint, timeout)
                    return self._adopt(await self._open(endpoint, timeout))
                except RegistryError as problem:
                    # Its frames hold the attempt's calls, and a call its connection, until the
                    # garbage collector comes by.
                    problems.append(problem.with_traceback(None))
                    self._endpoints.rotate(-1)
            if any(isinstance(problem, Slow) for problem in problems):
                # An etcd that is slow is better than none.
                timeout, slow = min(timeout * 2, MAX_TIMEOUT), True
            rounds += 1
            self._outage.begin(self, self._summary(problems))
            refusals = [each for each in problems if not isinstance(each, RegistryUnavailable)]
            if refusals:
                self._hasty = min(self._hasty + 1, 10)
                raise refusals[0]

    def _summary(self, problems: list[RegistryError]) -> str:
        text = "; ".join(str(problem) for problem in problems)
        if all(isinstance(problem, RegistryUnavailable) for problem in problems):
            text += ": is it running? SEAWALL_REGISTRY or registry= names it"
        return text

    def _adopt(self, session: Session) -> Session:
        self.current = session
        self._opened = self._clock()
        self._outage.end(self)
        return session

    async def _open(self, endpoint: str, timeout: float) -> Session:
        channel = open_channel(self._url, endpoint)
        session = Session(self._url, endpoint, channel, timeout, self._dropped)
        try:
            await session.open()
        except BadTls as problem:
            await session.close()
            raise out_of_date(self._url) or problem from None
        except BaseException:
            await session.close()
            raise
        return session

    def _dropped(self, session: Session) -> None:
        """The current session is lost: the next one is on the next endpoint."""
        if session is not self.current:
            return
        self.current = None
        self._endpoints.rotate(-1)
        worked = self._clock() - self._opened >= _SETTLED
        # An endpoint that accepts us and then fails at once must not be tried in a tight loop.
        self._hasty = 0 if worked else min(self._hasty + 1, 10)
        with suppress(RuntimeError):  # no loop runs any more: there is nothing left to close
            self._keep(asyncio.get_running_loop().create_task(session.close()))
