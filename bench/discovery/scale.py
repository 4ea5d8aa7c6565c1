"""Very many instances in etcd, very many watches: what changes take, and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.discovery.entries import service
from bench.discovery.processes import Crew, Process, Usage, everybody, shares
from bench.discovery.results import DELAY_HEADER, Delays, Part, kib, mib, ms, percent
from bench.discovery.sizes import Size
from seawall.testing.etcd import EtcdServer

Progress = Callable[[str], None]
WRITERS = 2
LISTINGS = 3
"""Fresh processes that list everything: the median of them is reported."""
DRAIN = 10.0
"""Seconds after the last change in which what is delivered still counts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the entries are shared out."""

    services: list[str]
    each: int
    """Instances of each service."""

    @classmethod
    def of(cls, services: int, instances: int) -> Layout:
        return cls([service(number) for number in range(services)], instances // services)

    def __str__(self) -> str:
        return f"{len(self.services)} x {self.each:,}"


@asynccontextmanager
async def loaded(layout: Layout, crew: Crew) -> AsyncIterator[tuple[EtcdServer, list[Process]]]:
    """A fresh etcd that holds a layout, and the writers that put it there."""
    async with EtcdServer() as etcd:
        writers = await crew.start_all("writer", "writer", [{"url": etcd.url}] * WRITERS)
        first = 0
        async with asyncio.TaskGroup() as group:
            for writer, share in zip(writers, shares(layout.each, WRITERS), strict=True):
                arguments = {"services": layout.services, "first": first, "last": first + share}
                group.create_task(writer.do("load", **arguments))
                first += share
        yield etcd, writers


async def listing(size: Size, progress: Progress) -> Part:
    """The first listing of a single service with all the instances."""
    part = Part("listing", f"the first listing of {size.instances:,} instances, from etcd")
    found: list[dict[str, float]] = []
    async with Crew() as crew, loaded(Layout.of(1, size.instances), crew) as (etcd, _):
        for number in range(LISTINGS):
            progress(f"listing: {number + 1} of {LISTINGS}")
            reader = await crew.start("reader", "watcher", url=etcd.url)
            found.append(await reader.do("list_once", service=service(0)))
            assert found[-1]["instances"] == size.instances, "the listing is not whole"
            await reader.stop()
    found.sort(key=lambda one: one["seconds"])
    middle = found[len(found) // 2]
    part.tabulate(
        ("instances", "ms", "CPU ms", "us each", "kept MiB", "peak MiB"),
        [(
            f"{size.instances:,}", ms(middle["seconds"]), ms(middle["cpu"]),
            f"{middle['seconds'] / size.instances * 1e6:.1f}", mib(middle["memory"]),
            mib(middle["peak"]),
        )],
    )  # fmt: skip
    part.figures = {"listings": found}
    return part


@dataclass(slots=True)
class Churned:
    """What a time of changes came to."""

    put: Delays
    seen: Delays
    expected: int
    etcd: float
    """CPU as a share of one core."""
    watchers: float
    etcd_memory: int

    def cells(self) -> tuple[str, ...]:
        lost = self.expected - self.seen.count
        return (
            f"{self.seen.count:,}", str(lost) if lost else "none", ms(self.put.median),
            *self.seen.cells, percent(self.etcd), percent(self.watchers), mib(self.etcd_memory),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "put": self.put.as_json(), "seen": self.seen.as_json(), "expected": self.expected,
            "etcd_cpu_share": self.etcd, "watchers_cpu_share": self.watchers,
            "etcd_memory": self.etcd_memory,
        }  # fmt: skip


CHURN_HEADER = (
    "layout", "watches", "changes/s", "delivered", "missing", "put ms", *DELAY_HEADER,
    "etcd CPU %", "watchers' CPU %", "etcd MiB",
)  # fmt: skip


async def churn(size: Size, progress: Progress) -> Part:
    """Changes of single instances, with all the watches open."""
    part = Part("churn", f"{size.instances:,} instances, {size.watchers:,} watches, one changes")
    rows, opening = [], []
    for layout in (Layout.of(size.services, size.instances), Layout.of(1, size.instances)):
        single = len(layout.services) == 1
        async with Crew() as crew, loaded(layout, crew) as (etcd, writers):
            progress(f"churn: opening {size.watchers} watches over {layout}")
            empty = Usage.of(etcd.pid).memory
            watching, opened = await _open(size, layout, etcd, crew)
            grown = (Usage.of(etcd.pid).memory - empty) / size.watchers
            opening.append((str(layout), *opened, kib(grown)))
            for rate in size.rates if single else (size.change_rate,):
                progress(f"churn: {rate:g} changes/s over {layout} for {size.seconds:g} s")
                each = size.watchers if single else size.watchers // len(layout.services)
                found = await _churn(layout, rate, size.seconds, each, etcd, writers[0], watching)
                rows.append((str(layout), f"{size.watchers:,}", f"{rate:g}", *found.cells()))
                part.figures[f"{layout} at {rate:g}/s"] = found.as_json()
    part.tabulate(CHURN_HEADER, rows)
    part.tabulate(("opening the watches", "s", "CPU ms a watch", "registry object KiB",
                   "bare watch KiB", "etcd KiB a watch"), opening)  # fmt: skip
    part.say(
        "delay: from before the put to the watcher having the change; the put itself is in it. "
        f"Real: etcd, its entries, a connection and a watch stream for each watch, in "
        f"{size.processes} processes. In the layout with several services each watch is a registry "
        f"object's, with its list; with a single service {size.lists} are, and the others bare "
        "watches that read each event and hold no list. Simulated: the owners (one lease holds "
        "all). Endpoints that stayed kept their statistics (asserted in each process)"
    )
    return part


async def _open(
    size: Size, layout: Layout, etcd: EtcdServer, crew: Crew
) -> tuple[list[Process], tuple[str, ...]]:
    """All watches, in processes; and what opening them took, as cells."""
    processes = await crew.start_all(
        "watchers", "watcher", [{"url": etcd.url}] * size.processes
    )  # fmt: skip
    whole = size.watchers if len(layout.services) > 1 else size.lists
    began = time.monotonic()
    used, memory = 0.0, []
    for count, bare in ((whole, False), (size.watchers - whole, True)):
        names = [layout.services[number % len(layout.services)] for number in range(count)]
        parts = [names[start :: size.processes] for start in range(size.processes)]
        found = await asyncio.gather(
            *(process.do("watch", services=part, bare=bare)
              for process, part in zip(processes, parts, strict=True))
        )  # fmt: skip
        used += sum(one["cpu"] for one in found)
        memory.append(kib(sum(one["memory"] for one in found) / count) if count else "")
    seconds = time.monotonic() - began
    return processes, (f"{seconds:.1f}", ms(used / size.watchers), *memory)


async def _churn(
    layout: Layout, rate: float, seconds: float, each: int,
    etcd: EtcdServer, writer: Process, watching: Sequence[Process],
) -> Churned:  # fmt: skip
    """Change at a rate; ``each`` change is seen by so many watches."""
    before, began = Usage.of(etcd.pid), time.monotonic()
    idle = await everybody(list(watching), "delays")
    took = await writer.do(
        "change", services=layout.services, count=layout.each, rate=rate, seconds=seconds
    )
    expected, seen = len(took) * each, []
    async with asyncio.timeout(DRAIN * 2):
        late = time.monotonic() + DRAIN
        while True:
            found = await everybody(list(watching), "delays")
            for one in found:
                seen += one["delays"]
            if len(seen) >= expected or time.monotonic() > late:
                break
            await asyncio.sleep(0.05)
    after, wall = Usage.of(etcd.pid), time.monotonic() - began
    used = sum(one["cpu"] - then["cpu"] for one, then in zip(found, idle, strict=True))
    return Churned(
        Delays.of(took), Delays.of(seen), expected, (after.cpu - before.cpu) / wall, used / wall,
        after.memory,
    )  # fmt: skip
