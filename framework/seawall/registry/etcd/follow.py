"""Following keys: list first, then watch, and never miss or forget anything in between."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from seawall.clock import Random
from seawall.errors import RegistryUnavailable
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.backoff import Retry
from seawall.registry.etcd.client import Client
from seawall.registry.etcd.rpc import (
    RANGE,
    WATCH,
    Busy,
    Compacted,
    StaleToken,
    is_stale,
    refused,
)
from seawall.registry.etcd.session import Session, Stream


@dataclass(frozen=True, slots=True)
class Span:
    """A key, or all keys from ``key`` up to ``end``."""

    key: bytes
    end: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """All that there is now. What was known before and isn't in it is gone."""

    kvs: tuple[wire.KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened since, in order; empty = nothing yet, but the watch stands."""

    events: tuple[wire.Event, ...]


class _Place:
    """How far the spans have been followed."""

    def __init__(self, revisions: Sequence[int], header: wire.ResponseHeader) -> None:
        self.next = [revision + 1 for revision in revisions]
        """By span: watches on one stream may be at different revisions."""
        self._cluster = header.cluster_id
        self._term = header.raft_term

    def fits(self, session: Session) -> bool:
        """Whether this session's history is the one we have followed.

        A cluster that was restored or emptied starts again at a lower revision: a watch at ours
        would be silent until it gets there.
        """
        now = session.header
        return (
            now is not None
            and now.cluster_id == self._cluster
            and now.raft_term >= self._term
            and now.revision >= max(self.next) - 1
        )


async def follow(
    client: Client, spans: Sequence[Span], user: str, chance: Random = random.random
) -> AsyncGenerator[Found | Happened, None]:
    """Yield a ``Found``, then ``Happened`` for ever; another ``Found`` after a gap.

    Outages are waited out. Raises ``RegistryError`` only if etcd refuses.
    """
    place: _Place | None = None
    retry = Retry(chance)
    while True:
        try:
            session = await client.session()
            if place is None or not place.fits(session):
                found, place = await _list(session, spans)
                yield Found(found)
            async with aclosing(_watch(session, spans, place, user)) as answers:
                async for events in answers:
                    retry.reset()
                    yield Happened(events)
        except Compacted as problem:
            place = None
            await retry.pause(Busy(str(problem)))
        except RegistryUnavailable as problem:
            await retry.pause(problem)


async def _list(
    session: Session, spans: Sequence[Span]
) -> tuple[tuple[wire.KeyValue, ...], _Place]:
    """What there is in the spans, and where each is to be watched from.

    A range for each, not one transaction of ranges: etcd before 3.5.7 ends itself when the
    client of a transaction that only reads goes away meanwhile (etcd-io/etcd#14110).
    """
    found: list[wire.KeyValue] = []
    revisions: list[int] = []
    header = wire.ResponseHeader()
    for span in spans:
        reply = await session.call(RANGE, wire.RangeRequest(key=span.key, range_end=span.end))
        header = reply.header
        revisions.append(header.revision)
        found += reply.kvs
    return tuple(found), _Place(revisions, header)


async def _watch(
    session: Session, spans: Sequence[Span], place: _Place, user: str
) -> AsyncGenerator[tuple[wire.Event, ...], None]:
    stream = session.stream(WATCH, leader=True)
    opened: dict[int, int] = {}
    try:
        for span, start in zip(spans, place.next, strict=True):
            create = wire.WatchCreateRequest(key=span.key, range_end=span.end, start_revision=start)
            await stream.send(wire.WatchRequest(create_request=create))
        while True:
            waiting = len(opened) < len(spans)
            answer = await stream.receive(session.timeout if waiting else None)
            if answer.canceled or answer.compact_revision:
                raise await _canceled(session, stream, answer, user)
            if answer.created:
                # Answers to creations come in the order of the requests.
                opened[answer.watch_id] = len(opened)
                if len(opened) == len(spans):
                    yield ()
            if answer.events and answer.watch_id in opened:
                last = answer.events[-1].kv.mod_revision
                # More of a revision may follow a fragment, and must come again if it doesn't.
                place.next[opened[answer.watch_id]] = last if answer.fragment else last + 1
                yield tuple(answer.events)
    finally:
        stream.close()


async def _canceled(
    session: Session,
    stream: Stream[wire.WatchRequest, wire.WatchResponse],
    answer: wire.WatchResponse,
    user: str,
) -> Exception:
    """What etcd means by cancelling a watch. A token that has expired is replaced here."""
    reason = answer.cancel_reason
    if answer.compact_revision or "compacted" in reason:
        return Compacted(reason)
    if user and is_stale(reason):
        await session.refresh(stream.token)
        return StaleToken(reason)
    if "permission denied" in reason or is_stale(reason):
        return refused("", reason, session.endpoint, user)
    return Busy(f"etcd at {session.endpoint} ended a watch: {reason or 'without a reason'}")
