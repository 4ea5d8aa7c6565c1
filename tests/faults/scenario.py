"""What a row of the matrix is, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.etcds import Etcd, single

if TYPE_CHECKING:
    from tests.faults.stage import Stage


def nothing(stage: Stage) -> Iterator[str]:
    """No check beyond those that all rows share."""
    yield from ()


async def unprepared(stage: Stage) -> None:
    """Nothing has to be done before the fault."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One fault, and what has to hold."""

    name: str
    fault: str
    """What the table calls it."""
    strike: Callable[[Stage], Awaitable[None]]
    """Does it, from its begin to its end."""
    prepare: Callable[[Stage], Awaitable[None]] = unprepared
    """What has to be done before it."""
    seconds: float
    """How long that takes, about: the longest rows are begun first."""
    within: float
    """Seconds from the fault's end within which all has to be whole again."""
    etcd: Callable[[Path], Awaitable[Etcd]] = single
    ttl: int = 10
    proxied: bool = False
    """Whether witness and services reach etcd through a proxy, to be cut off."""
    pause: float = 0.5
    """Seconds between the changes that are made during the fault."""
    restores: bool = True
    """Whether a registration may have to be put again; False = its lease must survive."""
    check: Callable[[Stage], Iterator[str]] = nothing
    """Yields what is wrong beyond what is measured."""


@dataclass(kw_only=True)
class Result:
    """What was measured. ``None`` = it did not come to that."""

    name: str
    fault: str
    within: float
    duration: float | None = None
    """Seconds."""
    calls: int = 0
    """Answered and failed, from the begin of the fault to the end of the row."""
    failed: int = 0
    lost: int = 0
    """Changes that the witness missed."""
    twice: int = 0
    """Times that it was told what was over already, or what it knew."""
    whole: float | None = None
    """Seconds from the end of the fault until etcd and the witness list what they should."""
    cpu: float | None = None
    """Share of one CPU that the witness used while the fault lasted; 0.02 = 2 %."""
    problems: list[str] = field(default_factory=list)
    """In words, whatever was wrong."""
    story: list[str] = field(default_factory=list)
    """What happened when, for who has to find out why."""


CPU_LIMIT = 0.02


def verdict(result: Result) -> list[str]:
    """All that is wrong with a row; empty = it holds."""
    wrong = list(result.problems)
    if result.failed:
        wrong.append(f"{result.failed} of {result.calls} calls failed")
    if result.lost:
        wrong.append(f"{result.lost} events were lost")
    if result.twice:
        wrong.append(f"{result.twice} events came twice or out of turn")
    if result.whole is not None and result.whole > result.within:
        wrong.append(f"whole after {result.whole:.1f} s, {result.within:g} s are allowed")
    if result.cpu is not None and result.cpu >= CPU_LIMIT:
        wrong.append(f"the idle witness used {result.cpu:.1%} of a CPU")
    return wrong
