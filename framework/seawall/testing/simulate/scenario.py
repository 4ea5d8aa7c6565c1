"""Scenarios as data: a JSON document that says what a fleet is and what happens to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from seawall.config import load_service_config
from seawall.criticality import BY_NAME
from seawall.errors import ConfigError
from seawall.fields import Fields
from seawall.testing.simulate.admission import PUSHBACKS, Admission, Shedding, unfit
from seawall.testing.simulate.client import METHOD, POISSON, UNIFORM, Client, ServiceConfigLike
from seawall.testing.simulate.distributions import Distribution, fixed, gamma, lognormal
from seawall.testing.simulate.fleet import Fleet
from seawall.testing.simulate.happenings import read_happening
from seawall.testing.simulate.replica import Replica
from seawall.testing.simulate.result import Result

_SHAPES: Final = {"gamma": gamma, "lognormal": lognormal}
_NETWORK_DELAY: Final = 0.00025

_Pair = tuple[Fields, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the run that is looked at by itself."""

    name: str
    since: float
    until: float


class Scenario:
    """A fleet and what happens to it, to be run under any policy and seed.

    Raises ``ConfigError`` with the path of the first field that is wrong.
    """

    def __init__(self, document: Mapping[str, Any], name: str = "scenario") -> None:
        top = Fields(document, "")
        top.only(
            "about", "seconds", "within", "windows", "networkDelay", "replicas", "clients",
            "happenings", "serviceConfig",
        )  # fmt: skip
        self.name = name
        self.about = top.text("about")
        """What it plays, in a sentence or two."""
        self.seconds = top.number("seconds", above=0, most=1e6, required=True)
        """How long clients call."""
        self.within = None if document.get("within") is None else top.number("within", above=0)
        """Seconds within which an answer is good; None = the deadline of the call alone."""
        self.windows = _windows(document.get("windows"), top)
        self._delay = top.number("networkDelay", _NETWORK_DELAY, least=0, most=10)
        self._replicas = _pairs(top, document, "replicas")
        self._clients = _pairs(top, document, "clients")
        self._own_config = _service_config(top, document)
        replicas, clients = self._members()
        if not replicas or not clients:
            missing = "clients" if replicas else "replicas"
            raise top.wrong("must list at least one, or nothing happens", missing)
        self.classes = _classes(document.get("clients") or ())
        """The classes of its calls, the most critical first; none if its clients don't say."""
        self._happenings = [
            read_happening(fields, raw, len(replicas), len(clients))
            for fields, raw in _pairs(top, document, "happenings")
        ]

    def fleet(self, seed: int = 1, service_config: ServiceConfigLike = None) -> Fleet:
        """The fleet, before anything has happened.

        ``service_config``: in place of the document's own; a client's own stays.
        """
        replicas, clients = self._members()
        config = self._own_config if service_config is None else service_config
        fleet = Fleet(replicas, clients, seed=seed, delay=self._delay, service_config=config)
        chance = Random(f"{seed}/happenings")
        for happening in self._happenings:
            happening.plan(fleet, self.seconds, chance)
        return fleet

    def run(self, seed: int = 1, service_config: ServiceConfigLike = None) -> Result:
        """What comes of it; the arguments are those of ``fleet``."""
        return self.fleet(seed, service_config).run(self.seconds)

    def _members(self) -> tuple[list[Replica], list[Client]]:
        replicas = [one for pair in self._replicas for one in _read_replicas(*pair)]
        clients = [one for pair in self._clients for one in _read_clients(*pair)]
        return replicas, clients


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario from a JSON file. Raises ``ConfigError``."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("", f"scenario {path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError("", f"scenario {path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError("", f"scenario {path} must be a JSON object")
    return Scenario(document, Path(path).stem)


def _pairs(top: Fields, document: Mapping[str, Any], name: str) -> list[_Pair]:
    """Each object of a list, checked, and as it stands in the document."""
    return list(zip(top.children(name), document.get(name) or (), strict=True))


def _windows(value: object, top: Fields) -> tuple[Window, ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise top.wrong('must be an object such as {"ill": [10, 20]}', "windows")
    return tuple(_window(str(name), span, top) for name, span in value.items())


def _window(name: str, span: object, top: Fields) -> Window:
    if isinstance(span, Sequence) and len(span) == 2:
        since, until = span
        if all(isinstance(x, int | float) for x in span) and 0 <= since < until:
            return Window(name, float(since), float(until))
    raise top.wrong(f"must be [from, to] in seconds, not {span!r}", f"windows.{name}")


def _classes(clients: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    named = {name for client in clients for name in client.get("criticality") or ()}
    return tuple(name for name in reversed(BY_NAME) if name in named)


def _read_replicas(fields: Fields, raw: Mapping[str, Any]) -> list[Replica]:
    fields.only(
        "count", "name", "serviceTime", "workers", "queue", "dropExpired", "admission", "metadata"
    )
    fields.child("metadata")
    inner = fields.child("admission")
    admission = None if inner is None else _admission(inner)
    workers = fields.integer("workers", 0, least=1) or None
    if problem := unfit(workers, admission):
        raise fields.wrong(problem, "admission")
    return [
        Replica(
            _service_time(fields, raw.get("serviceTime")),
            workers=workers,
            queue=None if raw.get("queue") is None else fields.integer("queue", least=0),
            drop_expired=fields.flag("dropExpired") is not False,
            admission=admission,
            metadata=raw.get("metadata"),
            name=name,
        )
        for name in _names(fields)
    ]


def _read_clients(fields: Fields, raw: Mapping[str, Any]) -> list[Client]:
    fields.only(
        "count", "name", "rate", "deadline", "idempotent", "arrivals", "batch", "keys",
        "method", "zone", "serviceConfig", "criticality",
    )  # fmt: skip
    config = _service_config(fields, raw)
    arrivals = fields.text("arrivals") or POISSON
    if arrivals not in (POISSON, UNIFORM):
        raise fields.wrong(f"must be {POISSON} or {UNIFORM}, not {arrivals}", "arrivals")
    return [
        Client(
            fields.number("rate", least=0, most=1e6, required=True),
            deadline=None if raw.get("deadline") is None else fields.number("deadline", above=0),
            idempotent=fields.flag("idempotent") is not False,
            arrivals=UNIFORM if arrivals == UNIFORM else POISSON,
            batch=fields.integer("batch", 1, least=1),
            keys=fields.integer("keys", 0, least=0),
            criticality=_criticality(fields.child("criticality")),
            zone=fields.text("zone"),
            service_config=config,
            method=fields.text("method") or METHOD,
            name=name,
        )
        for name in _names(fields)
    ]


def _service_config(fields: Fields, raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config: Mapping[str, Any] | None = raw.get("serviceConfig")
    if fields.child("serviceConfig") is not None:
        try:
            load_service_config(config)
        except ConfigError as error:
            at = f"serviceConfig.{error.path}" if error.path else "serviceConfig"
            raise fields.wrong(error.problem, at) from None
    return config


def _criticality(fields: Fields | None) -> Mapping[str, float] | None:
    """How many calls are of which class."""
    if fields is None:
        return None
    fields.only(*BY_NAME)
    shares = {name: fields.number(name, least=0, most=1e6) for name in fields.names}
    if not sum(shares.values()) > 0:
        raise fields.wrong("must have a class with a share above 0")
    return shares


def _names(fields: Fields) -> list[str]:
    """A name for each of ``count`` members; empty ones are given by the fleet."""
    count, name = fields.integer("count", 1, least=1), fields.text("name")
    return [f"{name}-{number}" if name and count > 1 else name for number in range(count)]


def _service_time(fields: Fields, value: object) -> Distribution:
    if not isinstance(value, Mapping):
        return fixed(fields.number("serviceTime", 0.005, least=0))
    inner = fields.child("serviceTime")
    assert inner is not None, "it is an object"
    inner.only("mean", "cv", "shape")
    shape = inner.text("shape") or "gamma"
    if shape not in _SHAPES:
        raise inner.wrong(f"must be one of {', '.join(_SHAPES)}, not {shape}", "shape")
    return _SHAPES[shape](
        inner.number("mean", above=0, required=True), inner.number("cv", 1.0, above=0)
    )


def _admission(fields: Fields) -> Admission | Shedding:
    if fields.flag("shedding") is True:
        fields.only("shedding", "pushback", "cost")
        return Shedding(
            pushback=fields.number("pushback") if "pushback" in fields else PUSHBACKS,
            cost=fields.number("cost", Shedding().cost, least=0),
        )
    fields.only("shedding", "target", "pushback", "cost")
    default = Admission()
    pushback = fields.number("pushback", -1.0)
    return Admission(
        target=fields.number("target", above=0) if "target" in fields else default.target,
        pushback=None if pushback < 0 else pushback,
        cost=fields.number("cost", default.cost, least=0),
    )
