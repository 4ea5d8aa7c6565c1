"""A fleet: replicas, the clients that call them, and what happens when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from seawall.events import Listener, ignore
from seawall.testing.simulate.client import Client, ServiceConfigLike, World
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.replica import Replica
from seawall.testing.simulate.result import Record, Result

LAST_CALLS: Final = 3600.0
"""Seconds that the last calls of a run are waited for."""


class _Named(Protocol):
    name: str


class Fleet:
    """Replicas of one service and its clients, in virtual time.

    seed: every draw of chance depends on it and on the names alone: the same seed gives the same
        result.
    delay: seconds that the network takes, one way.
    service_config: of clients that have none of their own; None = seawall's defaults.
    listener: told what changes in the clients, such as their breakers (``seawall.events``).

    Raises ``ConfigError`` for a service config that makes no sense. A fleet runs once.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        clients: Sequence[Client],
        *,
        seed: int = 1,
        delay: float = 0.00025,
        service_config: ServiceConfigLike = None,
        listener: Listener = ignore,
    ) -> None:
        self.replicas = list(replicas)
        self.clients = list(clients)
        self.engine = Engine()
        self._ran = False
        _name(self.replicas, "replica")
        _name(self.clients, "client")
        for replica in self.replicas:
            replica.join(self.engine, Random(f"{seed}/{replica.name}"))
        world = World(self.engine, self.replicas, delay, str(seed), service_config, listener)
        for client in self.clients:
            client.join(world)

    def at(self, when: float, action: Callable[..., object], *arguments: Any) -> None:
        """Call ``action(*arguments)`` at ``when`` seconds: ``fleet.at(10, replica.slow, 20)``."""
        self.engine.at(when, action, *arguments)

    def run(self, seconds: float) -> Result:
        """Let clients call for that many seconds, and their last calls end.

        Raises RuntimeError if calls never end, or if the fleet has run before.
        """
        if self._ran:
            raise RuntimeError("this fleet has run; make another for another run")
        self._ran = True
        engine = self.engine
        engine.run(seconds)
        for client in self.clients:
            client.stop()
        engine.run(seconds + LAST_CALLS, self._is_busy)
        if self._is_busy():
            count = sum(len(client.active) for client in self.clients)
            raise RuntimeError(
                f"{count} calls have not ended {LAST_CALLS:g} s after the last one started: they "
                "have no deadline, and what they wait for does not come"
            )
        records = [record for client in self.clients for record in client.records]
        records.sort(key=_end)
        return Result(records, seconds, {one.name: one.tally for one in self.replicas})

    def _is_busy(self) -> bool:
        return any(client.active for client in self.clients)


def _end(record: Record) -> float:
    return record.started + record.latency


def _name(members: Sequence[_Named], kind: str) -> None:
    for number, member in enumerate(members):
        member.name = member.name or f"{kind}-{number}"
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"each {kind} needs a name of its own: {', '.join(names)}")
