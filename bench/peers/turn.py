"""One client's turn at one scenario: healthy replicas, the client, its load, the script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.fleet import WorkerError
from bench.peers.envoy import Envoy
from bench.peers.figures import Turn, percentile
from bench.peers.process import Process
from bench.peers.scenarios import Scenario, Script
from bench.peers.stage import Replica, Replicas, free_ports

TICK: Final = 0.01
"""Seconds between the looks at how punctual the machine is."""
AHEAD: Final = 0.3
"""Seconds between telling the client when to start and its start."""
PATIENCE: Final = 60.0
"""Seconds beyond a scenario's length after which a client is given up."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A row: which client, and what it is told beside the addresses."""

    name: str
    kind: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ticks:
    """What the machine's cores did so far, in ticks of all of them."""

    total: float
    idle: float
    stolen: float

    @classmethod
    def now(cls) -> Ticks:
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        except OSError:
            return cls(0.0, 0.0, 0.0)
        user, nice, system, idle, wait, irq, soft, steal = map(float, line.split()[1:9])
        total = user + nice + system + idle + wait + irq + soft + steal
        return cls(total, idle + wait, steal)


class Meter:
    """The CPU of the machine and of our processes over a turn."""

    def __init__(self, ours: Sequence[Replica | Process | Envoy], cores: int) -> None:
        self._ours = ours
        self._cores = cores
        self._ticks = Ticks.now()
        self._began = time.monotonic()
        self._cpu = [one.cpu for one in ours]

    def shares(self) -> tuple[float, float]:
        """Per cent of the machine that was stolen, and that went to other people's processes."""
        after, seconds = Ticks.now(), time.monotonic() - self._began
        total = after.total - self._ticks.total
        if total <= 0:
            return 0.0, 0.0
        stolen = (after.stolen - self._ticks.stolen) / total
        busy = 1.0 - (after.idle - self._ticks.idle) / total - stolen
        # A replica that was started anew begins at 0: what its predecessor used counts as others'.
        used = sum(max(0.0, one.cpu - cpu) for one, cpu in zip(self._ours, self._cpu, strict=True))
        return 100.0 * stolen, max(0.0, 100.0 * (busy - used / (seconds * self._cores)))


async def watch_punctuality(late: list[float]) -> None:
    """Note, until cancelled, by how many seconds a sleep of ``TICK`` is exceeded.

    This process has next to nothing else to do, so that is the machine's doing: it tells a turn
    on a machine that was stuck from one whose client was.
    """
    while True:
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        late.append(time.monotonic() - due)


async def take(
    contender: Contender, scenario: Scenario, replicas: Replicas, *, pace: float, seed: int,
    cores: int,
) -> Turn:  # fmt: skip
    """Play ``scenario`` for ``contender``. Raises ``WorkerError`` if a process lets us down."""
    used = replicas.some(scenario.replicas)
    await replicas.reset(used, scenario.state())
    async with AsyncExitStack() as stack:
        addresses, extra = [one.address for one in used], dict(contender.extra)
        sidecar: Envoy | None = None
        if contender.kind == "envoy":
            one, other = free_ports(2)
            sidecar = await Envoy.start((one, other), addresses, scenario.deadline)
            stack.push_async_callback(sidecar.stop)
            extra["sidecar"] = sidecar.address
        extra["deadline"] = scenario.deadline
        spec = {"kind": contender.kind, "addresses": addresses, "extra": extra}
        client = await Process.launch("bench.peers.client", contender.name, spec)
        stack.push_async_callback(client.end)
        before = sum(replica.arrived for replica in used)
        ours: list[Replica | Process | Envoy] = [*used, client]
        if sidecar is not None:
            ours.append(sidecar)
        meter, sidecar_before = Meter(ours, cores), sidecar.cpu if sidecar else 0.0
        late: list[float] = []
        watch = asyncio.create_task(watch_punctuality(late))
        try:
            answer = await _played(scenario, used, client, pace, seed)
        finally:
            watch.cancel()
        stolen, others = meter.shares()
        sidecar_cpu = sidecar.cpu - sidecar_before if sidecar else 0.0
    await replicas.reset(used, scenario.state())
    return Turn(
        contender.name, scenario.name, scenario.deadline,
        answer["at"], answer["latency"], answer["lag"], answer["code"],
        arrived=sum(replica.arrived for replica in used) - before,
        cpu=answer["cpu"] + sidecar_cpu, sidecar_cpu=sidecar_cpu,
        stories=answer["stories"], stolen=stolen, others=others,
        late=percentile(late, 99),
    )  # fmt: skip


async def _played(
    scenario: Scenario, used: list[Replica], client: Process, pace: float, seed: int
) -> dict[str, Any]:
    seconds, start = scenario.seconds * pace, time.monotonic() + AHEAD
    command = {
        "rate": scenario.rate, "seconds": seconds, "seed": seed,
        "deadline": scenario.deadline, "start": start,
    }  # fmt: skip
    try:
        async with asyncio.TaskGroup() as group:
            load = group.create_task(client.ask(command, seconds + PATIENCE))
            group.create_task(scenario.play(Script(used, start, pace)))
    except ExceptionGroup as failures:
        raise _first(failures) from None
    return load.result()


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The first of them that is not itself a group."""
    first = failures.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return _first(first)
    return (
        first if isinstance(first, WorkerError) else WorkerError(f"{type(first).__name__}: {first}")
    )
