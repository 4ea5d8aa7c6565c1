"""What updates cost a client, by the number of instances: no etcd, no sockets."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, cast

from bench.discovery.entries import instance, service
from bench.discovery.roles import Action
from bench.discovery.roles.canned import CannedSession
from seawall.balancer.latency import PeakEwma
from seawall.call import Change, Endpoint, Instance, Listing, Update
from seawall.config import load_service_config
from seawall.policy.breaker import Breaker
from seawall.policy.group import Group
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.etcd.session import Session

NAME = service(0)
_SEED = 1


@contextmanager
def no_collections() -> Iterator[None]:
    """A collection over 10,000 instances would be blamed on whichever update it falls into."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def stand_in_group() -> Group:
    """A group whose endpoints are real, but for the connection."""
    policy = load_service_config(None).breaker

    def make(one: Instance) -> Endpoint:
        return Endpoint(one, Breaker(policy, lambda old, new: None), PeakEwma())

    return Group(NAME, make)


class Counter:
    """Applies updates to groups and to a feed of the registry's, and takes the time."""

    def __init__(self) -> None:
        self._random = random.Random(_SEED)

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"group": self.group, "wire": self.wire}

    async def open(self) -> dict[str, Any]:
        return {}

    async def aclose(self) -> None:
        pass

    async def group(self, count: int, updates: int, connected: bool) -> dict[str, float]:
        """Median seconds that ``Group`` takes for each kind of update, among ``count``."""
        group = stand_in_group()
        everybody = [instance(NAME, number) for number in range(count)]
        began = time.perf_counter()
        group.apply(Listing(tuple(everybody)))
        first = time.perf_counter() - began
        statistics = _with_statistics(group, connected)
        with no_collections():
            figures = self._updates(group, everybody, updates, connected)
            again = _timed(lambda: group.apply(Listing(tuple(everybody))))
        _check(group, statistics, everybody)
        return {"first listing": first, **figures, "same listing again": again}

    def _updates(
        self, group: Group, everybody: list[Instance], updates: int, connected: bool
    ) -> dict[str, float]:
        costs: dict[str, list[float]] = {}

        def take(kind: str, update: Update) -> None:
            costs.setdefault(kind, []).append(_timed(lambda: group.apply(update)))

        for number in range(updates):
            known = self._random.choice(everybody)
            take("one has other facts", Change(put=(_changed(known, number),)))
            group.apply(Change(put=(known,)))
            new = instance(NAME, 50_000 + number)
            take("one is new", Change(put=(new,)))
            made = group.endpoint_of(new)
            assert made is not None, "an instance that was put has no endpoint"
            if connected:
                moves = costs.setdefault("its connection comes up", [])
                moves.append(_timed(partial(group.set_ready, made, True)))
            take("one has left", Change(left=frozenset({new.id})))
        return {kind: median(values) for kind, values in costs.items()}

    async def wire(self, count: int, updates: int, batch: int) -> dict[str, float]:
        """Seconds from bytes of etcd's to what ``Registry.watch`` yields, among ``count``.

        ``batch`` is how many events come in one answer.
        """
        registry = EtcdRegistry("etcd://127.0.0.1:1")
        everybody = [instance(NAME, number) for number in range(count)]
        session = CannedSession(registry.encoded(everybody))
        registry._client.current = cast("Session", session)
        stream = registry.watch(NAME)
        try:
            began = time.perf_counter()
            listing = await anext(stream)
            first = time.perf_counter() - began
            assert isinstance(listing, Listing) and len(listing.instances) == count
            await asyncio.wait_for(session.watched.wait(), 5.0)
            costs = []
            with no_collections():
                for number in range(updates):
                    some = [_changed(one, number) for one in self._random.sample(everybody, batch)]
                    answer = session.answer(registry.encoded(some))
                    began = time.perf_counter()
                    session.push(answer)
                    change = await anext(stream)
                    costs.append(time.perf_counter() - began)
                    assert isinstance(change, Change) and len(change.put) == batch
        finally:
            await stream.aclose()
            await registry.close()
        return {"first listing": first, "answer": median(costs)}


def _changed(one: Instance, number: int) -> Instance:
    facts = {**one.metadata, "weight": 1.5 + number}
    return Instance(one.service, one.id, one.address, facts)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _with_statistics(group: Group, connected: bool) -> dict[str, tuple[Endpoint, float]]:
    """Give each endpoint a past of its own; returns both, by address."""
    found: dict[str, tuple[Endpoint, float]] = {}
    for number, endpoint in enumerate(group.endpoints):
        endpoint.latency.observe(0.001 + number / 1e6, 0.0)
        endpoint.outstanding = number % 7
        found[endpoint.address] = endpoint, endpoint.latency.rank
        if connected:
            group.set_ready(endpoint, True)
    return found


def _check(
    group: Group, statistics: Mapping[str, tuple[Endpoint, float]], everybody: list[Instance]
) -> None:
    """Whoever was there all the time must be the same object, with the same past."""
    assert len(group.endpoints) == len(everybody), "endpoints were lost or left over"
    for number, endpoint in enumerate(sorted(group.endpoints, key=lambda e: e.instance.id)):
        known, rank = statistics[endpoint.address]
        kept = known is endpoint and rank == endpoint.latency.rank
        assert kept and endpoint.outstanding == number % 7, f"{endpoint} lost its statistics"
