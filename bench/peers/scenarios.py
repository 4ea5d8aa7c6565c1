"""What is done to the replicas while the clients call them, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.stage import Replica

SLOWER: Final = 20.0
CAPACITY: Final = 0.3
"""What is left of each replica's in the brown-out."""
STUCK: Final = 2.0
"""Seconds that the slow one of eleven takes, in Linkerd's experiment."""


@dataclass(frozen=True, slots=True)
class Script:
    """A scenario as it is played: to whom, since when, how fast."""

    replicas: list[Replica]
    start: float
    """Of the load, on the monotonic clock."""
    pace: float
    """1 = as described; 0.5 = everything in half the time."""

    async def until(self, seconds: float) -> None:
        """Wait for this moment of the scenario's own time."""
        await asyncio.sleep(max(0.0, self.start + seconds * self.pace - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    what: str
    play: Callable[[Script], Coroutine[Any, Any, None]]
    seconds: float
    """At pace 1."""
    fault: tuple[float, float] | None
    """When something is wrong, in seconds at pace 1; None = never."""
    replicas: int = 5
    rate: float = 300.0
    """Calls a second."""
    workers: int = 4
    """Calls that a replica works on at a time; the others wait."""
    service: float = 0.005
    """Seconds of work that a call is."""
    deadline: float = 1.0
    alone: bool = True
    """Whether one replica alone could carry the load: else a client of one replica has no turn."""

    def state(self) -> dict[str, Any]:
        """A healthy replica's."""
        return {"workers": self.workers, "service": self.service, "failing": False}


async def healthy(script: Script) -> None:
    await script.until(0.0)


async def slow(script: Script) -> None:
    victim = script.replicas[0]
    await script.until(2.0)
    await victim.set(service=victim.state["service"] * SLOWER)
    await script.until(10.0)
    await victim.set(service=victim.state["service"] / SLOWER)


async def frozen(script: Script) -> None:
    victim = script.replicas[0]
    await script.until(2.0)
    victim.freeze()
    try:
        await script.until(12.0)
    finally:
        victim.thaw()


async def failing(script: Script) -> None:
    await script.until(2.0)
    await script.replicas[0].set(failing=True)
    await script.until(10.0)
    await script.replicas[0].set(failing=False)


async def killed(script: Script) -> None:
    await script.until(2.0)
    await script.replicas[0].kill()
    await script.until(6.0)
    await script.replicas[0].start()


async def brown_out(script: Script) -> None:
    await script.until(5.0)
    await _all(script.replicas, 1 / CAPACITY)
    await script.until(15.0)
    await _all(script.replicas, CAPACITY)


async def _all(replicas: list[Replica], factor: float) -> None:
    await asyncio.gather(*(one.set(service=one.state["service"] * factor) for one in replicas))


async def rolling(script: Script) -> None:
    for number, replica in enumerate(script.replicas):
        await script.until(2.0 + 2.0 * number)
        await replica.terminate()
        await replica.start()


async def linkerd(script: Script) -> None:
    victim = script.replicas[0]
    normal = victim.state["service"]
    await script.until(5.0)
    await victim.set(service=STUCK)
    await script.until(35.0)
    await victim.set(service=normal)


SCENARIOS: Final = (
    Scenario("healthy", "nothing is wrong", healthy, 12.0, None),
    Scenario("slow", "one of five takes 20 times as long (100 ms), from 2 to 10 s",
             slow, 14.0, (2.0, 10.0)),
    Scenario("frozen", "one of five is stopped (SIGSTOP) from 2 to 12 s: its connections stay up",
             frozen, 16.0, (2.0, 12.0)),
    Scenario("failing", "one of five answers UNAVAILABLE within 1 ms, from 2 to 10 s",
             failing, 14.0, (2.0, 10.0)),
    Scenario("killed", "one of five is killed (SIGKILL) at 2 s and back on its port after 6 s",
             killed, 14.0, (2.0, 6.0)),
    Scenario("rolling", "one after the other of five is asked to stop (SIGTERM) and started again "
             "on its port, one every 2 s", rolling, 16.0, (2.0, 12.0)),
    Scenario("brown-out", "all five have 30 % of their capacity from 5 to 15 s; before it they are "
             "loaded to 80 % (one worker each, 10 ms a call, 400 calls/s)",
             brown_out, 30.0, (5.0, 15.0), rate=400.0, workers=1, service=0.01,
             alone=False),
    Scenario("linkerd", "one of eleven takes 2 s from 5 to 35 s, without a queue before it; "
             "400 calls/s", linkerd, 40.0, (5.0, 35.0), replicas=11, rate=400.0, workers=1000),
)  # fmt: skip
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
