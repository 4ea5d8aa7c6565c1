"""How much of everything a run does: the full size, and one to try things with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of a run. Whoever wants others makes one with ``dataclasses.replace``."""

    rounds: int = 100
    """Instances that come and say goodbye, one after the other."""
    crashes: int = 30
    """Instance processes that are killed, one after the other."""
    call_rate: int = 200
    """Calls a second that the client makes meanwhile."""
    counts: tuple[int, ...] = (100, 1_000, 10_000)
    """Instances of one service, for the cost of an update."""
    updates: int = 300
    """Updates that each cost is the median of."""
    connections: tuple[int, ...] = (100, 1_000)
    """Instances that a client connects to, for what a connection costs it."""
    instances: int = 10_000
    """Entries in etcd."""
    services: int = 100
    """Services that they are shared out to, where there are several."""
    watchers: int = 1_000
    """Watches, each on a connection of its own."""
    lists: int = 20
    """Of these, in the layout with a single service, those that hold the whole list."""
    rates: tuple[float, ...] = (1.0, 5.0)
    """Changes a second in that layout: each goes to every watcher."""
    change_rate: float = 50.0
    """Changes a second where there are several services."""
    seconds: float = 20.0
    """How long changes go on."""
    processes: int = 4
    """Processes that share the watchers, or the owners."""
    clients: int = 100
    """Clients, each with a connection of its own, for the ways to watch."""
    used: tuple[int, ...] = (3, 20)
    """Services that each of them uses."""
    way_seconds: float = 10.0
    """How long changes go on in each way."""
    owners: int = 1_000
    """Registry objects that register and watch while etcd goes and comes."""
    outages: tuple[float, ...] = (3.0, 12.0)
    """Seconds for which etcd is away; a lease's time is 10."""
    keep_alive_seconds: float = 10.0
    """How long keep-alives are counted, each time."""
    herds: tuple[int, ...] = (1_000, 10_000)
    """Clients in the reckoning of how they would come back if none had to wait for a core."""


FULL = Size()
SHORT = Size(
    rounds=5, crashes=1, counts=(100, 1_000, 10_000), updates=60, connections=(50,),
    instances=1_000, services=20, watchers=40, lists=4, rates=(5.0,), change_rate=20.0,
    seconds=0.8, processes=2, clients=10, used=(3,), way_seconds=0.5, owners=40, outages=(1.0,),
    keep_alive_seconds=0.5, herds=(1_000,),
)  # fmt: skip
"""Finishes within half a minute; its figures mean little."""
