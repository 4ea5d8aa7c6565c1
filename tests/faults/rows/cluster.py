"""Rows on a cluster of three nodes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.etcds import away, cluster
from tests.faults.scenario import Scenario
from tests.faults.stage import Stage


async def follower_frozen(stage: Stage) -> None:
    """The one that the witness is connected to, so that it has to go elsewhere."""
    follower = stage.theirs
    follower.pause()
    await stage.hold(8)
    follower.resume()


async def leader_frozen(stage: Stage) -> None:
    """The one that the witness is connected to."""
    leader = stage.theirs
    leader.pause()
    await stage.hold(8)
    leader.resume()


async def leader_frozen_at_a_write(stage: Stage) -> None:
    """The announcer is on a follower, which has passed a change on to the leader; nobody will
    know of that before the leader thaws."""
    leader = await stage.etcd.leader()
    leader.pause()
    await stage.hold(8)
    leader.resume()


async def quorum_killed(stage: Stage) -> None:
    """The one that is left is the witness's: it answers, and knows nothing new."""
    others = stage.others
    for member in others:
        await away(member.kill)
    await stage.hold(20)
    for member in others:
        await away(member.launch)
    for member in others:
        await away(member.wait_ready)


async def quorum_frozen(stage: Stage) -> None:
    others = stage.others
    for member in others:
        member.pause()
    await stage.hold(20)
    for member in others:
        member.resume()


async def rolling(stage: Stage) -> None:
    for member in stage.etcd.members:
        await away(member.stop)
        await away(member.start)


async def other_leads(stage: Stage) -> None:
    await stage.etcd.lead(stage.others[0])


async def announcers_follows(stage: Stage) -> None:
    """The announcer's member does not lead."""
    others = [member for member in stage.etcd.members if member is not stage.announcers]
    await stage.etcd.lead(others[0])


async def theirs_leads(stage: Stage) -> None:
    await stage.etcd.lead(stage.theirs)


def nobody_led(stage: Stage) -> Iterator[str]:
    """Without ``hasleader`` the watch would be silent, and nobody the wiser."""
    if not stage.told("RegistryLost"):
        yield "the witness was not told RegistryLost although nobody led"
    if not stage.told("RegistryRegained"):
        yield "the witness was not told RegistryRegained"


SCENARIOS = [
    Scenario(
        name="follower-frozen",
        fault="a follower of three frozen for longer than the lease (TTL 5 s)",
        prepare=other_leads,
        strike=follower_frozen,
        seconds=8,
        within=3,
        etcd=cluster,
        ttl=5,
        restores=False,
    ),
    Scenario(
        name="leader-frozen",
        fault="the leader of three frozen for longer than the lease (TTL 5 s)",
        prepare=theirs_leads,
        strike=leader_frozen,
        seconds=8,
        within=5,
        etcd=cluster,
        ttl=5,
    ),
    Scenario(
        name="leader-frozen-at-a-write",
        fault="the leader of three frozen with a change in its hands (TTL 20 s)",
        prepare=announcers_follows,
        strike=leader_frozen_at_a_write,
        seconds=8,
        within=5,
        etcd=cluster,
        ttl=20,
        pause=0.2,
    ),
    Scenario(
        name="quorum-killed",
        fault="quorum lost: two of three killed for 20 s",
        strike=quorum_killed,
        seconds=21,
        within=5,
        etcd=cluster,
        check=nobody_led,
    ),
    Scenario(
        name="quorum-frozen",
        fault="quorum lost: two of three frozen for 20 s",
        strike=quorum_frozen,
        seconds=20,
        within=8,
        etcd=cluster,
        check=nobody_led,
    ),
    Scenario(
        name="rolling",
        fault="rolling restart of all three",
        strike=rolling,
        seconds=5,
        within=3,
        etcd=cluster,
        ttl=5,
        restores=False,
    ),
]
