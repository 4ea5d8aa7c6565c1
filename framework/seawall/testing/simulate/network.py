"""One client's connections: what ``transport.discovery`` does about them, without a registry."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from seawall.call import Endpoint, Instance, Listing
from seawall.pipeline import Pipeline
from seawall.policy.group import Turnover
from seawall.policy.waiting import Waiting
from seawall.testing.simulate.connection import Connection
from seawall.testing.simulate.engine import Engine
from seawall.testing.simulate.replica import Replica


class Network:
    """Connects one client to those replicas that its group uses. All of them are listed."""

    def __init__(
        self, engine: Engine, delay: float, random: Random, replicas: Sequence[Replica]
    ) -> None:
        self.waiting = Waiting()
        """Who wants to know of the next change of what is connected."""
        self._engine = engine
        self._delay = delay
        self._random = random
        self._replicas = {replica.name: replica for replica in replicas}
        self._pipeline: Pipeline

    def start(self, pipeline: Pipeline) -> None:
        """List the replicas to ``pipeline``; who is used is connected already."""
        self._pipeline = pipeline
        instances = [
            Instance(pipeline.service, name, name, replica.metadata)
            for name, replica in self._replicas.items()
        ]
        self._took(pipeline.group.apply(Listing(tuple(instances))), at_once=True)

    def make(self, instance: Instance) -> Endpoint:
        """The endpoint of a replica, with a connection that is not yet begun."""
        endpoint = self._pipeline.endpoint(instance)
        endpoint.transport = Connection(
            self._engine,
            self._delay,
            self._random,
            self._replicas[instance.address],
            partial(self._on_state, endpoint),
        )
        return endpoint

    def _took(self, turnover: Turnover, *, at_once: bool = False) -> None:
        for endpoint in turnover.added:
            endpoint.transport.start(at_once=at_once)
        for endpoint in turnover.removed:
            endpoint.transport.retire()
        if turnover:
            self.waiting.wake()

    def _on_state(self, endpoint: Endpoint, ready: bool, problem: str | None) -> None:
        group = self._pipeline.group
        newly_settled = problem is not None and not endpoint.settled
        if problem is not None:
            endpoint.settled, endpoint.problem = True, problem
        changed = group.set_ready(endpoint, ready)
        if not endpoint.ready and (changed or newly_settled):
            self._took(group.compensate())
        if changed or newly_settled:
            self.waiting.wake()
