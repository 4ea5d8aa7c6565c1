"""Rows in which etcd is well, and what is in it is not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from tests.faults.announcer import SERVICE as PROBE
from tests.faults.etcds import NAMESPACE
from tests.faults.scenario import Scenario
from tests.faults.stage import ECHO, Stage

TIMES = 5
"""How often each is done, a second apart."""
GARBAGE = ("not JSON", '{"Op":0}', '{"Op":0,"Addr":"nowhere"}', "[]", '{"Op":7,"Addr":"a:1"}')


async def lease_revoked(stage: Stage) -> None:
    for _ in range(TIMES):
        for lease in await stage.etcd.leases():
            await stage.etcd.ctl("lease", "revoke", lease)
        await stage.hold(1)


async def key_deleted(stage: Stage) -> None:
    (key, *_) = _keys(stage, ECHO)
    for _ in range(TIMES):
        await stage.etcd.ctl("del", key)
        await stage.hold(1)


async def prefix_deleted(stage: Stage) -> None:
    for _ in range(TIMES):
        await stage.etcd.ctl("del", "--prefix", f"{NAMESPACE}/")
        await stage.hold(1)


async def malformed(stage: Stage) -> None:
    """Beside good entries, and in place of one whose owner lives."""
    (key, *_) = _keys(stage, ECHO)
    stranger = f"{NAMESPACE}/{ECHO}/stranger"
    for garbage in GARBAGE:
        await stage.etcd.ctl("put", stranger, garbage)
        await stage.etcd.ctl("put", key, garbage)
        await stage.hold(1)
    await stage.etcd.ctl("del", stranger)


def each_was_told(stage: Stage) -> Iterator[str]:
    told = [text for text in stage.told("MalformedEntry") if "stranger" in text]
    if len(told) != len(GARBAGE):
        yield f"of {len(GARBAGE)} malformed values {len(told)} were told: {told}"


async def burst(stage: Stage) -> None:
    """50 come, change and go, each time in one transaction."""
    held = await stage.announcer.add(50)
    assert held, stage.announcer.refusals
    await stage.hold(1)
    for _ in range(TIMES):
        await stage.announcer.change(held)
        assert await _revisions(stage, held.ids) == 1, "they came in several transactions"
        await stage.hold(1)
    await stage.announcer.remove(held)


async def _revisions(stage: Stage, ids: tuple[str, ...]) -> int:
    """In how many revisions these keys were put."""
    found = json.loads(
        await stage.etcd.ctl("get", f"{NAMESPACE}/{PROBE}/", "--prefix", "-w", "json")
    )
    keys = [base64.b64encode(f"{NAMESPACE}/{PROBE}/{id_}".encode()).decode() for id_ in ids]
    return len({kv["mod_revision"] for kv in found["kvs"] if kv["key"] in keys})


def _keys(stage: Stage, service: str) -> list[str]:
    return [f"{NAMESPACE}/{service}/{id_}" for id_ in stage.ledger.expected()[service]]


SCENARIOS = [
    Scenario(
        name="lease-revoked",
        fault="all leases revoked, five times in 5 s",
        strike=lease_revoked,
        seconds=5,
        within=5,
    ),
    Scenario(
        name="key-deleted",
        fault="the key of a live service deleted, five times in 5 s",
        strike=key_deleted,
        seconds=5,
        within=3,
    ),
    Scenario(
        name="prefix-deleted",
        fault="the whole prefix deleted, five times in 5 s",
        strike=prefix_deleted,
        seconds=5,
        within=5,
    ),
    Scenario(
        name="malformed",
        fault="malformed values, beside good entries and in place of one",
        strike=malformed,
        seconds=5,
        within=3,
        check=each_was_told,
    ),
    Scenario(
        name="burst",
        fault="50 events in one transaction, six times in 6 s",
        strike=burst,
        seconds=6,
        within=3,
        restores=False,
    ),
]
