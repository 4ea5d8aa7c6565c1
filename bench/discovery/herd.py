"""etcd goes and comes back, with very many owners and watchers: is there a thundering herd?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from bench.discovery import reckoning
from bench.discovery.processes import Crew, Process, everybody, shares
from bench.discovery.results import Delays, Part, kib, ms, percent
from bench.discovery.sampling import SLOT, Metric, Sample, Sampler
from bench.discovery.sizes import Size
from bench.fleet import WorkerError
from seawall.testing.etcd import EtcdServer

Progress = Callable[[str], None]
LIMIT = 90.0
"""Seconds within which all must be whole again."""
LOOK = 0.1
KEEP_ALIVES = {"grpc_method": "LeaseKeepAlive"}


async def herd(size: Size, progress: Progress) -> Part:
    """Kill and restart etcd, and watch everybody come back."""
    part = Part("herd", f"etcd is killed and restarted; {size.owners:,} registry objects")
    rows, spread = [], []
    async with EtcdServer() as etcd, Crew() as crew:
        progress(f"herd: {size.owners} registry objects register and watch")
        owners, opened = await _open(size, etcd, crew)
        part.figures["open"] = opened
        progress("herd: counting keep-alives")
        spread.append(("after all have registered", *await _keep_alives(size, etcd)))
        for outage in size.outages:
            progress(f"herd: etcd is away for {outage:g} s")
            found = await _outage(outage, size.owners, etcd, owners)
            part.figures[f"away for {outage:g} s"] = found
            rows.append(_cells(outage, found))
            progress("herd: counting keep-alives")
            spread.append((f"after {outage:g} s without etcd", *await _keep_alives(size, etcd)))
    part.tabulate(
        ("etcd away s", "connected in 100 ms, most", "half connected s", "all connected s",
         "whole: median s", "p99 s", "all s", "registered anew", "etcd CPU, most %",
         "etcd CPU s", "clients' CPU s"),
        rows,
    )  # fmt: skip
    part.say(
        f"seconds count from etcd's first connection. Real: {size.owners:,} registry objects with "
        f"a connection, lease, key and watch each, in {size.processes} processes; so they wait "
        "for cores as so many machines would not. Opening them took "
        f"{opened['seconds']:.1f} s, {ms(opened['cpu'])} ms of CPU and {kib(opened['memory'])} KiB "
        "each"
    )
    part.tabulate(("keep-alives in 100 ms", "mean", "most", "spread / chance's"), spread)
    part.say("spread: standard deviation, over that of as many keep-alives at random times (1)")
    _reckon(part, size)
    return part


async def _open(size: Size, etcd: EtcdServer, crew: Crew) -> tuple[list[Process], dict[str, float]]:
    owners = await crew.start_all("owners", "owner", [{"url": etcd.url}] * size.processes)
    began, first, starts = time.monotonic(), 0, []
    for owner, count in zip(owners, shares(size.owners, size.processes), strict=True):
        starts.append(owner.do("begin", first=first, count=count))
        first += count
    found = await asyncio.gather(*starts)
    return owners, {
        "seconds": time.monotonic() - began,
        "cpu": sum(one["cpu"] for one in found) / size.owners,
        "memory": sum(one["memory"] for one in found) / size.owners,
    }


async def _keep_alives(size: Size, etcd: EtcdServer) -> tuple[str, str, str]:
    """Keep-alives in each tenth of a second: mean, most, and how unevenly they come."""
    metric = Metric(etcd, "grpc_server_msg_received_total", **KEEP_ALIVES)
    loop = asyncio.get_running_loop()
    counts, due = [await asyncio.to_thread(metric.read)], loop.time()
    for _ in range(round(size.keep_alive_seconds / SLOT)):
        due += SLOT
        await asyncio.sleep(max(0.0, due - loop.time()))
        counts.append(await asyncio.to_thread(metric.read))
    slots = [after - before for before, after in pairwise(counts)]
    mean = fmean(slots)
    chance = pstdev(slots) / mean**0.5 if mean else 0.0
    return f"{mean:.1f}", f"{max(slots):.0f}", f"{chance:.1f}"


async def _outage(
    outage: float, count: int, etcd: EtcdServer, owners: list[Process]
) -> dict[str, Any]:
    before = await everybody(owners, "so_far")
    await asyncio.to_thread(etcd.kill)
    await asyncio.sleep(outage)
    etcd.launch()
    sampler = Sampler(etcd)
    try:
        await asyncio.to_thread(etcd.wait_ready)
        after = await _until_whole(owners, count, sum(len(one["regained"]) for one in before))
    finally:
        samples = await asyncio.to_thread(sampler.stop)
    listed = sum(one["listed"] for one in after)
    assert listed == sum(one["listed"] for one in before), "instances were lost on the way"
    back = next(sample.at for sample in samples if sample.connections)
    regained = [at - back for one in after for at in one["regained"] if at > back - SLOT]
    restored = [at for one in after for at in one["restored"] if at > back - SLOT]
    used = sum(one["cpu"] - then["cpu"] for one, then in zip(after, before, strict=True))
    return {
        "whole": Delays.of(regained).as_json(), "restored": len(restored), "clients_cpu": used,
        "etcd_cpu": samples[-1].cpu, "etcd_cpu_most": _most_cpu(samples),
        **_arrivals(samples, back, count),
    }  # fmt: skip


async def _until_whole(owners: list[Process], count: int, regained: int) -> list[Any]:
    """Wait until everybody has lost etcd and has it again. Raises ``WorkerError``."""
    late = time.monotonic() + LIMIT
    while True:
        found = await everybody(owners, "so_far")
        back = sum(len(one["regained"]) for one in found) - regained
        whole = sum(one["whole"] for one in found)
        if back >= count and whole == count:
            return found
        if time.monotonic() > late:
            problems = Counter(problem for one in found for problem in one["problems"])
            raise WorkerError(
                f"{LIMIT:g} s after etcd was started again {whole} of {count} are whole, {back} "
                f"times one had it back; problems: {dict(problems.most_common(3))}"
            )
        await asyncio.sleep(LOOK)


def _most_cpu(samples: Sequence[Sample]) -> float:
    """The most CPU in a slot, as a share of one core."""
    return max((b.cpu - a.cpu) / (b.at - a.at) for a, b in pairwise(samples))


def _arrivals(samples: Sequence[Sample], back: float, count: int) -> dict[str, Any]:
    fresh = [b.connections - a.connections for a, b in pairwise(samples)]

    def reached(wanted: int) -> float:
        return next((s.at - back for s in samples if s.connections >= wanted), float("inf"))

    return {
        "connected_in_100_ms": fresh, "half_connected": reached(count // 2),
        "all_connected": reached(count), "accepted": samples[-1].accepted - samples[0].accepted,
    }  # fmt: skip


def _cells(outage: float, found: dict[str, Any]) -> tuple[str, ...]:
    whole = found["whole"]
    return (
        f"{outage:g}", str(max(found["connected_in_100_ms"])), f"{found['half_connected']:.2f}",
        f"{found['all_connected']:.2f}", f"{whole['median']:.2f}", f"{whole['p99']:.2f}",
        f"{whole['worst']:.2f}", str(found["restored"]), percent(found["etcd_cpu_most"]),
        f"{found['etcd_cpu']:.1f}", f"{found['clients_cpu']:.1f}",
    )  # fmt: skip


def _reckon(part: Part, size: Size) -> None:
    returns: list[Sequence[str]] = []
    for count in size.herds:
        for longest in reckoning.LONGEST:
            found = reckoning.returns(count, longest)
            part.figures[f"reckoned: {count} clients, {longest:g} s"] = found
            cells = str(found["most"]), f"{found['half']:.2f}", f"{found['all']:.2f}"
            returns.append((f"{count:,}", f"{longest:g}", *cells))
    part.tabulate(
        ("clients (reckoned)", "longest pause s", "tries in 100 ms, most", "half s", "all s"),
        returns,
    )
    part.say(
        "reckoned from the registry's own pauses, each client on a machine of its own; a young "
        "outage has the shortest, an old one the longer. A try is a knock, then a connection"
    )
    most = reckoning.keep_alive_most
    rows = [(f"{low:g} to 1", *(f"{most(low, n):.1f}" for n in reckoning.CYCLES))
            for low in reckoning.JITTERS]  # fmt: skip
    header = ("keep-alive after TTL / 3 x", *(f"after {n} rounds" for n in reckoning.CYCLES))
    part.tabulate(header, rows)
    part.say("reckoned: the most keep-alives in 100 ms over the mean, of 1,000 that began at once")
