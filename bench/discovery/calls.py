"""How soon a new instance is called, and one that goes is called no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bench.discovery.processes import Crew, Process
from bench.discovery.results import DELAY_HEADER, Delays, Part
from bench.discovery.sizes import Size
from seawall.testing.etcd import EtcdServer

Progress = Callable[[str], None]
STAY = 2
"""Instances that stay throughout: a call always has somewhere to go."""
TARGET = 0.1
"""Seconds from registering to the first call, in the median."""
_AT_A_TIME = 5
"""Processes that are started together, as starting takes longer than dying."""
_NOTICED = 0.5
"""Seconds after a kill in which the client's calls are looked at."""


async def comings_and_goings(size: Size, progress: Progress) -> Part:
    """One instance after the other comes, is called, and says goodbye."""
    part = Part("calls", f"{size.rounds} instances come and go; {size.call_rate} calls/s")
    came: list[dict[str, float]] = []
    went: list[dict[str, float]] = []
    async with EtcdServer() as etcd, Crew() as crew:
        await crew.start("instances that stay", "host", url=etcd.url, count=STAY)
        host = await crew.start("instances that come and go", "host", url=etcd.url)
        caller = await crew.start("client", "caller", url=etcd.url, rate=size.call_rate)
        for number in range(size.rounds):
            came.append(await host.do("arrive"))
            went.append(await host.do("leave"))
            progress(f"calls: {number + 1} of {size.rounds} instances have come and gone")
        so_far = await caller.do("so_far")
    rows = {
        "register() called to first call": [one["first"] - one["register"] for one in came],
        "register() returned to first call": [one["first"] - one["registered"] for one in came],
        "register() itself": [one["registered"] - one["register"] for one in came],
        # An instance whose last call came before it began to leave has none after.
        "stop() called to last call": [max(0.0, one["last"] - one["stop"]) for one in went],
        "registration.close() called to last call":
            [max(0.0, one["last"] - one["close"]) for one in went],
        "registration.close() itself": [one["closed"] - one["close"] for one in went],
    }  # fmt: skip
    _tabulate(part, rows)
    median = Delays.of(rows["register() called to first call"]).median
    verdict = "holds" if median <= TARGET else "is missed"
    part.say(
        f"target: a median of {TARGET * 1e3:.0f} ms from register() to the first call: {verdict}. "
        f"{so_far['calls']} calls, {len(so_far['failures'])} failed"
    )
    part.figures.update(calls=so_far["calls"], failures=so_far["failures"])
    return part


async def crashes(size: Size, progress: Progress) -> Part:
    """One instance process after the other is killed."""
    part = Part("crash", f"{size.crashes} instance processes are killed; {size.call_rate} calls/s")
    last: list[float] = []
    lost: list[float] = []
    async with EtcdServer() as etcd, Crew() as crew:
        await crew.start("instances that stay", "host", url=etcd.url, count=STAY)
        caller = await crew.start("client", "caller", url=etcd.url, rate=size.call_rate)
        while (done := len(last)) < size.crashes:
            count = min(_AT_A_TIME, size.crashes - done)
            specs = [{"url": etcd.url} for _ in range(count)]
            for host in await crew.start_all("instance", "host", specs):
                await host.do("arrive")
                sent, failed = await _killed(host, caller)
                last.append(sent)
                lost.append(failed)
                progress(f"crash: {len(last)} of {size.crashes} instances killed")
        so_far = await caller.do("so_far")
    _tabulate(part, {"kill -9 to last attempt sent there": last})
    part.say(
        f"attempts that failed there: {sum(lost):.0f} in {size.crashes} crashes, "
        f"{max(lost):.0f} at most in one. {so_far['calls']} calls, {len(so_far['failures'])} failed"
    )
    part.figures.update(
        calls=so_far["calls"], failures=so_far["failures"], failed_attempts=lost
    )  # fmt: skip
    return part


async def _killed(host: Process, caller: Process) -> tuple[float, int]:
    """Kill a process: seconds to the last attempt that was sent there, and those that failed."""
    address = await host.do("address")
    await caller.do("went_to", address=address)
    at = time.monotonic()
    await host.kill()
    await asyncio.sleep(_NOTICED)
    attempts = await caller.do("went_to", address=address)
    late = [sent - at for sent, _ in attempts if sent > at]
    return max(late, default=0.0), sum(status != "OK" for _, status in attempts)


def _tabulate(part: Part, rows: dict[str, list[float]]) -> None:
    delays = {name: Delays.of(values) for name, values in rows.items()}
    part.tabulate(("from ... to", *DELAY_HEADER),
                  [(name, *each.cells) for name, each in delays.items()])  # fmt: skip
    part.figures.update({name: each.as_json() for name, each in delays.items()})
