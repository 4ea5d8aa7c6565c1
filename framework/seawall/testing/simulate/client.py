"""A client: calls at a rate of their own, through the production policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from seawall.call import Call, LoadReport, Method, Outcome, Success
from seawall.config import load_service_config
from seawall.criticality import DEFAULT, Criticality, criticality_named
from seawall.events import Listener, ignore
from seawall.pipeline import Pipeline, Reading, Setting
from seawall.policy.deadline import deadline_of
from seawall.testing.simulate.attempt import Reported
from seawall.testing.simulate.distributions import interarrival
from seawall.testing.simulate.driver import Driver
from seawall.testing.simulate.engine import Engine, Event
from seawall.testing.simulate.network import Network
from seawall.testing.simulate.replica import Replica
from seawall.testing.simulate.result import OK, Record

ServiceConfigLike = str | Path | Mapping[str, Any] | None
POISSON: Final = "poisson"
UNIFORM: Final = "uniform"
METHOD: Final = "/simulated.Service/Call"


@dataclass(frozen=True, slots=True)
class World:
    """What a fleet gives to each of its clients."""

    engine: Engine
    replicas: list[Replica]
    delay: float
    """Seconds, one way."""
    seed: str
    service_config: ServiceConfigLike
    listener: Listener = ignore


class Client:
    """One process that calls the service, in an open loop: slow answers do not slow it down.

    rate: calls a second.
    deadline: seconds that its calls may take, the ``timeout`` of a stub; None = the default (5 s).
    idempotent: whether the contract marks the method so.
    arrivals: ``poisson``, by chance at that rate, or ``uniform``, in even steps.
    batch: how many calls start at once, each time; the rate stays the same.
    keys: how many different requests there are. Each call draws one, which is its ``hash_key`` as
        well; 0 = no two are alike.
    service_config: as for ``seawall.connect``; None = the fleet's, else seawall's defaults.
    method: its path.
    options: of every call, as ``seawall.options`` sets them, such as ``{"fallback": 1}``.
    criticality: how many calls are of which class, in any unit, by chance, as in
        ``{"critical": 15, "sheddable": 85}``; None = all are of that of ``options``.
    zone: where it runs.
    """

    def __init__(
        self,
        rate: float,
        *,
        deadline: float | None = None,
        idempotent: bool = True,
        arrivals: Literal["poisson", "uniform"] = POISSON,
        batch: int = 1,
        keys: int = 0,
        service_config: ServiceConfigLike = None,
        method: str = METHOD,
        options: Mapping[str, Any] | None = None,
        criticality: Mapping[str, float] | None = None,
        zone: str = "",
        name: str = "",
    ) -> None:
        if arrivals not in (POISSON, UNIFORM):
            raise ValueError(f"arrivals must be {POISSON} or {UNIFORM}, not {arrivals!r}")
        if batch < 1 or keys < 0:
            raise ValueError(f"batch must be 1 or more and keys 0 or more, not {batch}, {keys}")
        self.name = name
        self.rate = _checked(rate)
        self.records: list[Record] = []
        """Its calls, in the order in which they ended."""
        self.active: set[Any] = set()
        """The drivers of its calls that have not ended; they take themselves out."""
        self.engine: Engine
        self.pipeline: Pipeline
        self.network: Network
        self._deadline = deadline
        self._uniform = arrivals == UNIFORM
        self._batch = batch
        self._keys = keys
        self._config = service_config
        self._method = Method.from_path(method, idempotent=idempotent)
        self._options = options
        usual = (options or {}).get("criticality", DEFAULT)
        self._classes = _classes({usual: 1.0} if criticality is None else criticality)
        self._zone = zone
        self._coming: Event | None = None
        self._taken = False
        self._arrivals: Random
        self._requests: Random
        self._chance: Random
        """Of the classes."""

    def join(self, world: World) -> None:
        """Live in a fleet, which calls this. Raises ValueError if it is in one already."""
        if self._taken:
            raise ValueError(f"{self.name} is in a fleet already; each fleet needs its own")
        self._taken = True
        self.engine = engine = world.engine
        seed = f"{world.seed}/{self.name}"
        # Sources of chance of their own: another policy meets the same calls at the same times.
        self._arrivals, self._requests = Random(f"{seed}/arrivals"), Random(f"{seed}/requests")
        self._chance = Random(f"{seed}/criticality")
        given = self._config if self._config is not None else world.service_config
        config = load_service_config(given)
        setting = Setting(
            clock=engine,
            random=Random(f"{seed}/policy").random,
            reading=Reading(_message, _load),
            listener=world.listener,
            zone=self._zone,
            seed=seed,
        )
        network = Network(engine, world.delay, Random(f"{seed}/network"), world.replicas)
        self.network = network
        self.pipeline = Pipeline(self._method.service, config, setting, network.make)
        network.start(self.pipeline)
        self._policy = policy = config.for_method(self._method)
        if policy.idempotent is not None:
            self._method = replace(self._method, idempotent=policy.idempotent)
        self._handler = self.pipeline.handler(self._method, policy)
        self._schedule()

    def change_rate(self, rate: float) -> None:
        """Start ``rate`` calls a second from now on."""
        self.rate = _checked(rate)
        self.stop()
        self._schedule()

    def stop(self) -> None:
        """Start no more calls."""
        if self._coming is not None:
            self._coming.cancel()

    def _schedule(self) -> None:
        self._coming = None
        rate = self.rate / self._batch
        if rate > 0:
            wait = 1.0 / rate if self._uniform else interarrival(self._arrivals, rate)
            self._coming = self.engine.after(wait, self._arrive)

    def _arrive(self) -> None:
        self._schedule()
        for _ in range(self._batch):
            self._begin()

    def _begin(self) -> None:
        """What a stub does when it is called: ``transport.methods``."""
        now, policy = self.engine.now, self._policy
        deadline = deadline_of(now, self._deadline, policy.timeout, None, streaming=False)
        call = Call(self._method, now, deadline)
        call.options = self._options
        classes, sums = self._classes
        (call.criticality,) = (
            self._chance.choices(classes, cum_weights=sums) if len(sums) > 1 else classes
        )
        if self._keys:
            key = str(int(self._requests.random() * self._keys))
            call.request = key.encode()
            call.options = {"hash_key": key, **(self._options or {})}
        if policy.wait_for_ready:
            call.wait_for_ready = True
        driver = Driver(self, call, self._handler(call))
        self.active.add(driver)
        driver.start()

    def ended(self, call: Call, outcome: Outcome, attempts: int) -> None:
        """A call has ended after so many attempts."""
        code = OK if outcome.ok else outcome.code.name
        took = self.engine.now - call.started
        fallback = outcome.ok and bool(outcome.fallback)
        criticality = call.criticality.name.lower()
        self.records.append(
            Record(self.name, call.started, took, code, attempts, fallback, criticality)
        )

    @property
    def limits(self) -> Engine:
        """Where drivers cancel the alarms of their attempts."""
        return self.engine


def _checked(rate: float) -> float:
    if not 0 <= rate < 1e9:
        raise ValueError(f"rate must be 0 or more calls a second, not {rate!r}")
    return rate


def _classes(shares: Mapping[Any, float]) -> tuple[list[Criticality], list[float]]:
    """The classes, and the sums of their shares. Raises ValueError if they make no sense."""
    classes, weights = [criticality_named(name) for name in shares], list(shares.values())
    if not (all(0 <= weight < 1e9 for weight in weights) and sum(weights) > 0):
        raise ValueError(f"criticality must give shares above 0, not {dict(shares)!r}")
    return classes, list(accumulate(weights))


def _message(success: Success) -> str:
    """Every answer is the same."""
    return "answer"


def _load(outcome: Outcome) -> LoadReport | None:
    """What the replica said with the end of an attempt."""
    if outcome.ok:
        report: LoadReport | None = outcome.value.load
        return report
    return outcome.load if isinstance(outcome, Reported) else None
