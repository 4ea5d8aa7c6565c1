"""What happens in a scenario: to which members, when, for how long, how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from grpc import StatusCode

from seawall.fields import Fields
from seawall.testing.simulate.fleet import Fleet
from seawall.testing.simulate.replica import Replica

Deed = Callable[[Replica], None]

_UNDO: Final[Mapping[str, Deed]] = {
    "slow": lambda replica: replica.speed(1.0),
    "speed": lambda replica: replica.speed(1.0),
    "freeze": Replica.thaw,
    "fail": Replica.heal,
    "kill": Replica.restart,
}
_PLAIN: Final[Mapping[str, Deed]] = {
    "freeze": Replica.freeze,
    "thaw": Replica.thaw,
    "heal": Replica.heal,
    "kill": Replica.kill,
    "restart": Replica.restart,
    "recover": Replica.recover,
}
_RATE: Final = "rate"
_KNOWN: Final = ("slow", "speed", "fail", _RATE, *_PLAIN)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a scenario's ``happenings``."""

    at: float
    lasts: float | None
    """Seconds after which it is undone; None = never."""
    every: float | None
    """Seconds after which it happens again; None = once."""
    spread: bool
    """It begins for each member at a time of its own, by chance, in ``every`` seconds."""
    members: Sequence[int]
    deed: Deed | None
    """What happens to a replica; None: clients change their rate."""
    undo: Deed | None
    rate: float = 0.0

    def plan(self, fleet: Fleet, seconds: float, chance: Random) -> None:
        """Have it happen in ``fleet``, for a run of that many seconds."""
        for member in self.members:
            for start in self._times(seconds, chance):
                if self.deed is None:
                    self._plan_rate(fleet, member, start)
                    continue
                replica = fleet.replicas[member]
                fleet.at(start, self.deed, replica)
                if self.lasts is not None and self.undo is not None:
                    fleet.at(start + self.lasts, self.undo, replica)

    def _plan_rate(self, fleet: Fleet, member: int, start: float) -> None:
        client = fleet.clients[member]
        fleet.at(start, client.change_rate, self.rate)
        if self.lasts is not None:
            fleet.at(start + self.lasts, client.change_rate, client.rate)

    def _times(self, seconds: float, chance: Random) -> Iterator[float]:
        start = self.at
        if self.every is None:
            yield start
            return
        if self.spread:
            start += round(chance.random() * self.every, 6)
        while start < seconds:
            yield start
            start += self.every


def read_happening(
    fields: Fields, raw: Mapping[str, Any], replicas: int, clients: int
) -> Happening:
    """Read one of them, for a fleet of that size. Raises ``ConfigError``."""
    fields.only(
        "at", "for", "every", "spread", "replicas", "clients", "do", "factor", "code", "after",
        "share", "rate",
    )  # fmt: skip
    what = fields.text("do")
    if what not in _KNOWN:
        raise fields.wrong(f"must be one of {', '.join(_KNOWN)}, not {what or 'nothing'}", "do")
    lasts, every = (
        None if raw.get(name) is None else fields.number(name, above=0) for name in ("for", "every")
    )
    if lasts is not None and what != _RATE and what not in _UNDO:
        raise fields.wrong(f"makes no sense with {what}, which is not undone", "for")
    members = ("clients", clients) if what == _RATE else ("replicas", replicas)
    return Happening(
        at=fields.number("at", 0.0, least=0),
        lasts=lasts,
        every=every,
        spread=fields.flag("spread") is True,
        members=_members(fields, raw, *members),
        deed=None if what == _RATE else _deed(fields, what),
        undo=_UNDO.get(what),
        rate=fields.number("rate", least=0, most=1e6, required=what == _RATE),
    )


def _deed(fields: Fields, what: str) -> Deed:
    if what in _PLAIN:
        return _PLAIN[what]
    if what == "fail":
        return _failing(fields)
    factor = fields.number("factor", above=0, required=True)
    if what == "slow":
        return lambda replica: replica.slow(factor)
    return lambda replica: replica.speed(factor)


def _failing(fields: Fields) -> Deed:
    name = fields.text("code") or StatusCode.UNAVAILABLE.name
    if name not in StatusCode.__members__ or name == StatusCode.OK.name:
        raise fields.wrong(f"must be a status code such as UNAVAILABLE, not {name}", "code")
    after = fields.number("after", 0.001, least=0)
    share = fields.number("share", 1.0, above=0, most=1)
    return lambda replica: replica.fail(name, after, share)


def _members(fields: Fields, raw: Mapping[str, Any], name: str, count: int) -> Sequence[int]:
    """The numbers of those that it happens to; all if none are named."""
    named = raw.get(name)
    if named is None:
        return range(count)
    if isinstance(named, list) and all(type(n) is int and 0 <= n < count for n in named):
        return tuple(named)
    raise fields.wrong(f"must be a list of numbers from 0 to {count - 1}, not {named!r}", name)
