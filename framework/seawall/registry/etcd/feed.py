"""The live list of one service's instances, shared by all who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from seawall.call import Instance, Listing, Update
from seawall.errors import RegistryError
from seawall.events import MalformedEntry
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.backoff import Retry, end, persist
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.follow import Found, Happened, Span, follow
from seawall.registry.etcd.formats import format_of
from seawall.registry.etcd.naming import Malformed, end_of
from seawall.registry.etcd.outage import Outage
from seawall.registry.etcd.url import EtcdUrl
from seawall.registry.mailbox import Mailbox

DOUBT: Final = 3.0
"""Seconds for which an instance whose key has gone without a goodbye stays listed.

After an outage that outlasted the leases (a frozen etcd, a cluster restored from nothing), all
keys vanish at once although their owners live; those put them again within 2 s of being able to
(a wait of 1 s at most, then 0.9 s to connect). Of a process that died nobody hears for a whole
lease anyway, and its connections tell sooner than the registry does.
"""


class Feed:
    """Follows a service's entries for as long as somebody listens."""

    def __init__(self, client: Client, outage: Outage, url: EtcdUrl, service: str) -> None:
        self.listeners = 0
        self._client = client
        self._outage = outage
        self._url = url
        self._service = service
        self._format = format_of(url)
        self._prefix = self._format.prefix(service)
        self._instances: dict[bytes, Instance] = {}
        self._malformed: dict[bytes, bytes] = {}
        """The values that have been told of, by key."""
        self._doubts: dict[bytes, asyncio.TimerHandle] = {}
        self._news = Mailbox()
        """What the listeners haven't been told yet."""
        self._mailboxes: set[Mailbox] = set()
        self._begun = False
        self._failure: RegistryError | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._tasks = [persist(self._run, f"seawall etcd watch {service}")]

    @property
    def over(self) -> bool:
        """Whether nothing more will come: refused before the first list, or closed."""
        return self._closed or self._failure is not None

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Yield the list now, then what has changed; a slow reader gets it all as one."""
        mailbox: Mailbox | None = None
        try:
            while True:
                changed = self._changed
                if self._closed:
                    return
                if self._failure is not None:
                    raise self._failure
                update: Update | None = None
                if mailbox is not None:
                    update = mailbox.take()
                elif self._begun:
                    self._mailboxes.add(mailbox := Mailbox())
                    update = Listing(tuple(self._instances.values()))
                if update is not None:
                    yield update
                else:
                    await changed.wait()
        finally:
            if mailbox is not None:
                self._mailboxes.discard(mailbox)

    async def close(self) -> None:
        """Stop following. Whoever still reads comes to the end."""
        self._closed = True
        self._wake()
        for key in tuple(self._doubts):
            self._trust(key)
        await end(self._tasks)
        self._outage.end(self)

    async def _run(self) -> None:
        retry = Retry()
        while True:
            try:
                span = Span(self._prefix, end_of(self._prefix))
                async for change in follow(self._client, (span,), self._url.user):
                    self._take(change)
            except RegistryError as refusal:
                if not self._begun:
                    self._failure = refusal
                    self._wake()
                    return
                # A fleet at work isn't stopped by a password that somebody has changed: what is
                # known stays in use until that is mended.
                self._outage.begin(self, str(refusal))
                await retry.pause(refusal)

    def _take(self, change: Found | Happened) -> None:
        match change:
            case Found(kvs):
                listed = {kv.key for kv in kvs}
                for key in (self._instances.keys() | self._malformed.keys()) - listed:
                    self._gone(key)
                for kv in kvs:
                    self._put(kv)
                first, self._begun = not self._begun, True
                self._publish(wake=first)
            case Happened(events):
                self._outage.end(self)
                for event in events:
                    if event.type == wire.Event.DELETE:
                        self._gone(event.kv.key)
                    else:
                        self._put(event.kv)
                self._publish()

    def _put(self, kv: wire.KeyValue) -> None:
        try:
            instance = self._format.decode(self._prefix, kv.key, kv.value, self._service)
        except Malformed as problem:
            self._unreadable(kv, problem)
            return
        self._trust(kv.key)
        self._malformed.pop(kv.key, None)
        known = self._instances.get(kv.key)
        if instance is None:
            self._instances.pop(kv.key, None)
            # Told even of one that isn't listed: a reader may have kept what vanished.
            self._news.left(kv.key[len(self._prefix) :].decode())
        elif instance != known:
            self._instances[kv.key] = instance
            self._news.put(instance)

    def _unreadable(self, kv: wire.KeyValue, problem: Malformed) -> None:
        """Told once for each value. If it could be read before, its owner may put it right."""
        if self._malformed.get(kv.key) != kv.value:
            key = kv.key.decode(errors="backslashreplace")
            self._outage.tell(MalformedEntry(str(self._url), key, str(problem)))
        self._gone(kv.key)
        self._malformed[kv.key] = kv.value

    def _gone(self, key: bytes) -> None:
        """A key has gone without a goodbye: believe it in a while, if it doesn't come back."""
        self._malformed.pop(key, None)
        if key in self._instances and key not in self._doubts:
            timer = asyncio.get_running_loop().call_later(DOUBT, self._believe, key)
            self._doubts[key] = timer

    def _believe(self, key: bytes) -> None:
        del self._doubts[key]
        if self._client.current is None:
            self._gone(key)  # away again: its owner can't have come back either
        elif known := self._instances.pop(key, None):
            self._news.lost(known.id)
            self._publish()

    def _trust(self, key: bytes) -> None:
        timer = self._doubts.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _publish(self, *, wake: bool = False) -> None:
        news = self._news.take()
        if news is not None:
            for mailbox in self._mailboxes:
                mailbox.add(news)
        if news is not None or wake:
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Feeds:
    """The feeds of a registry, one for each service that is watched."""

    def __init__(self, make: Callable[[str], Feed]) -> None:
        self._make = make
        self._feeds: dict[str, Feed] = {}

    async def updates(self, service: str) -> AsyncGenerator[Update, None]:
        """Yield what ``Registry.watch`` yields."""
        feed = self._feeds.get(service)
        if feed is None or feed.over:
            feed = self._feeds[service] = self._make(service)
        feed.listeners += 1
        try:
            async with aclosing(feed.updates()) as updates:
                async for update in updates:
                    yield update
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                if self._feeds.get(service) is feed:
                    del self._feeds[service]
                await feed.close()

    async def close(self) -> None:
        """Stop all feeds; their readers come to the end."""
        for feed in tuple(self._feeds.values()):
            await feed.close()
        self._feeds.clear()
