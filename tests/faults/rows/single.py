"""Rows on a single node that dies, freezes, forgets, is cut off or is full."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import count

from seawall.testing.etcd import EtcdFailed
from tests.faults.etcds import away, small
from tests.faults.scenario import Scenario
from tests.faults.stage import Stage


def killed_for(seconds: float) -> Callable[[Stage], Awaitable[None]]:
    async def strike(stage: Stage) -> None:
        (member,) = stage.etcd.members
        await away(member.kill)
        await stage.hold(seconds)
        await away(member.start)

    return strike


async def frozen(stage: Stage) -> None:
    (member,) = stage.etcd.members
    member.pause()
    await stage.hold(8)
    member.resume()


async def wiped(stage: Stage) -> None:
    (member,) = stage.etcd.members
    await away(member.wipe)
    await stage.hold(1)
    await away(member.start)


async def compacted(stage: Stage) -> None:
    """The watchers are cut off, and what happens meanwhile is no longer in etcd's history."""
    await stage.proxy.cut()
    await stage.hold(4)
    revision = (await stage.etcd.ctl("get", "nothing", "-w", "fields")).split('"Revision" : ')[1]
    await stage.etcd.ctl("compact", revision.split()[0])
    await stage.proxy.mend()


async def full(stage: Stage) -> None:
    """No space left, for longer than a registration waits; then an operator makes some."""
    with_100_kb = "x" * 100_000
    try:
        for number in count():
            await stage.etcd.ctl("put", f"filler/{number}", with_100_kb)
    except EtcdFailed as full_now:
        assert "space exceeded" in str(full_now), full_now
    await stage.hold(6)
    await stage.etcd.ctl("del", "--prefix", "filler/")
    revision = (await stage.etcd.ctl("get", "nothing", "-w", "fields")).split('"Revision" : ')[1]
    await stage.etcd.ctl("compact", revision.split()[0])
    await stage.etcd.ctl("defrag")
    await stage.etcd.ctl("alarm", "disarm")


def said_that_it_is_full(stage: Stage) -> Iterator[str]:
    refusals = stage.announcer.refusals
    if not any("space exceeded" in refusal for refusal in refusals):
        yield f"nobody was told that etcd is full, but: {refusals}"
    if stage.told("RegistryLost"):
        yield f"a full etcd was taken for one that is away: {stage.told('RegistryLost')}"


def was_told(stage: Stage) -> Iterator[str]:
    if not stage.told("RegistryLost"):
        yield "the witness was not told RegistryLost"
    if not stage.told("RegistryRegained"):
        yield "the witness was not told RegistryRegained"


SCENARIOS = [
    *(
        Scenario(
            name=f"killed-{seconds}s",
            fault=f"single node killed (-9), started again after {seconds} s",
            strike=killed_for(seconds),
            seconds=seconds + 1,
            within=3,
            restores=seconds > 10,
            check=was_told,
        )
        for seconds in (1, 3, 12)
    ),
    Scenario(
        name="frozen",
        fault="single node frozen (SIGSTOP) for longer than the lease (TTL 5 s)",
        strike=frozen,
        seconds=8,
        within=5,
        ttl=5,
        check=was_told,
    ),
    Scenario(
        name="wiped",
        fault="all data of etcd lost",
        strike=wiped,
        seconds=2,
        within=5,
        check=was_told,
    ),
    Scenario(
        name="compacted",
        fault="history compacted while watchers and services are cut off",
        strike=compacted,
        seconds=4,
        within=3,
        proxied=True,
        restores=False,
    ),
    Scenario(
        name="full",
        fault="etcd out of space (NOSPACE alarm), then cleaned up",
        strike=full,
        seconds=8,
        within=5,
        etcd=small,
        restores=False,
        check=said_that_it_is_full,
    ),
]
