"""Which watch: a stream for each service, one stream for all, or one watch over the namespace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from bench.discovery.processes import Crew, Process, Usage, everybody
from bench.discovery.results import Delays, Part, kib, ms, percent
from bench.discovery.roles.chooser import WAYS
from bench.discovery.scale import Layout, loaded
from bench.discovery.sizes import Size
from seawall.testing.etcd import EtcdServer

Progress = Callable[[str], None]
DRAIN = 10.0
"""Seconds within which all that was changed must have been delivered."""
QUIET = 0.2
"""Seconds without an event after which no more is waited for."""
PROCESSES = 2
_SEED = 1
HEADER = (
    "services used", "way", "open CPU ms", "open KiB", "etcd KiB", "etcd CPU %", "clients' CPU %",
    "events a client and s", "of use %", "median ms", "p99 ms",
)  # fmt: skip


async def ways(size: Size, progress: Progress) -> Part:
    """Each way with the same clients, services and changes, on an etcd of its own."""
    layout = Layout.of(size.services, size.instances)
    part = Part("ways", f"{size.clients} clients that use some of {size.services} services")
    rows = []
    for used in size.used:
        chance = random.Random(_SEED)
        uses = [chance.sample(layout.services, used) for _ in range(size.clients)]
        for way in WAYS:
            progress(f"ways: {way}, {used} services used, {size.change_rate:g} changes/s")
            async with Crew() as crew, loaded(layout, crew) as (etcd, writers):
                found = await _measure(way, uses, layout, size, etcd, crew, writers[0])
            part.figures[f"{used}: {way}"] = found
            rows.append((str(used), way, *_cells(found)))
    part.tabulate(HEADER, rows)
    part.say(
        f"{layout} instances, {size.change_rate:g} changes/s over all services for "
        f"{size.way_seconds:g} s. CPU is of one core, of all clients together; memory is for each "
        "client, and CPU of opening too. Each client has one connection in any case"
    )
    return part


async def _measure(
    way: str, uses: list[list[str]], layout: Layout, size: Size,
    etcd: EtcdServer, crew: Crew, writer: Process,
) -> dict[str, Any]:  # fmt: skip
    processes = await crew.start_all("clients", "chooser", [{"url": etcd.url}] * PROCESSES)
    empty, clients = Usage.of(etcd.pid), len(uses)
    begun = await asyncio.gather(
        *(process.do("begin", way=way, uses=uses[start::PROCESSES], each=layout.each)
          for start, process in enumerate(processes))
    )  # fmt: skip
    before, began = Usage.of(etcd.pid), time.monotonic()
    idle = await everybody(processes, "so_far")
    took = await writer.do(
        "change", services=layout.services, count=layout.each,
        rate=size.change_rate, seconds=size.way_seconds,
    )  # fmt: skip
    found, delays, delivered = await _until_silent(processes)
    after, wall = Usage.of(etcd.pid), time.monotonic() - began
    used = sum(one["cpu"] - then["cpu"] for one, then in zip(found, idle, strict=True))
    return {
        "open_cpu": sum(one["cpu"] for one in begun) / clients,
        "open_memory": sum(one["memory"] for one in begun) / clients,
        "etcd_memory": (before.memory - empty.memory) / clients,
        "etcd_cpu_share": (after.cpu - before.cpu) / wall, "clients_cpu_share": used / wall,
        "changes": len(took), "delivered": delivered, "of_use": len(delays) / delivered,
        "events_a_second": delivered / clients / wall, "delay": Delays.of(delays).as_json(),
    }  # fmt: skip


async def _until_silent(processes: list[Process]) -> tuple[list[Any], list[float], int]:
    """What the clients have had, once nothing more comes."""
    delays: list[float] = []
    delivered = -1
    async with asyncio.timeout(DRAIN):
        while True:
            found = await everybody(processes, "so_far")
            for one in found:
                delays += one["delays"]
            if (now := sum(one["delivered"] for one in found)) == delivered:
                return found, delays, now
            delivered = now
            await asyncio.sleep(QUIET)


def _cells(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        ms(found["open_cpu"]), kib(found["open_memory"]), kib(found["etcd_memory"]),
        percent(found["etcd_cpu_share"]), percent(found["clients_cpu_share"]),
        f"{found['events_a_second']:.1f}", percent(found["of_use"]),
        ms(found["delay"]["median"]), ms(found["delay"]["p99"]),
    )  # fmt: skip
