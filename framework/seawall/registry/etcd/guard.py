"""Watching over the keys of this process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from seawall.errors import RegistryError
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.backoff import Retry, end, persist
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.follow import Found, Happened, Span, follow
from seawall.registry.etcd.outage import Outage

RESTORE_WITHIN: Final = 0.1
"""Seconds, jittered: when somebody deletes a whole prefix, not all owners come in one moment."""


class Guard:
    """Tells which of a set of keys have to be put again, because they are gone.

    ``revision_of`` says where a key was put last; None if it isn't wanted, or is to be put anyway.
    """

    def __init__(
        self,
        client: Client,
        outage: Outage,
        user: str,
        keys: frozenset[bytes],
        revision_of: Callable[[bytes], int | None],
        put_again: Callable[[set[bytes]], None],
    ) -> None:
        self.keys = keys
        self._client = client
        self._outage = outage
        self._user = user
        self._revision_of = revision_of
        self._put_again = put_again
        self._absent: dict[bytes, int | None] = {}
        """Keys that have gone, with where they were put before."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = [persist(self._watch, "seawall etcd guard")] if keys else []

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await end(self._tasks)
        self._outage.end(self)

    async def _watch(self) -> None:
        retry = Retry()
        spans = [Span(key) for key in sorted(self.keys)]
        while True:
            try:
                async for change in follow(self._client, spans, self._user):
                    self._outage.end(self)
                    self._missed(self._gone(change))
            except RegistryError as problem:
                self._outage.begin(self, str(problem))
                await retry.pause(problem)

    def _gone(self, change: Found | Happened) -> set[bytes]:
        """Keys that are not there, or that no lease would ever remove.

        A key that another process has put under its own lease is that process's from then on:
        the newest owner of an id has it, and two owners must not fight.
        """
        if isinstance(change, Found):
            leased = {kv.key for kv in change.kvs if kv.lease}
            return {key for key in self.keys - leased if self._revision_of(key) is not None}
        return {
            event.kv.key
            for event in change.events
            if (event.type == wire.Event.DELETE or not event.kv.lease)
            and (put := self._revision_of(event.kv.key)) is not None
            and event.kv.mod_revision > put
        }

    def _missed(self, keys: set[bytes]) -> None:
        """Ask for them in a moment: what vanishes together comes back together."""
        self._absent |= {key: self._revision_of(key) for key in keys}
        if keys and self._timer is None:
            shortly = RESTORE_WITHIN * (0.2 + 0.8 * random.random())
            self._timer = asyncio.get_running_loop().call_later(shortly, self._ask)

    def _ask(self) -> None:
        self._timer = None
        absent, self._absent = self._absent, {}
        # Some may have been put again already, because the lease turned out to be lost.
        still = {
            key for key, put in absent.items() if put is not None and self._revision_of(key) == put
        }
        if still:
            self._put_again(still)
