"""What was announced, in its order; and what of that a watcher missed or was told twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

State = str | None
"""An instance's address and facts as text; None = not there."""
Lists = dict[str, dict[str, str]]
"""By service and id: the states of all that is there."""


def state_of(address: str, metadata: Mapping[str, object]) -> str:
    """What an instance says, as text that is the same for the same facts."""
    return json.dumps([address, metadata], sort_keys=True, separators=(",", ":"))


def difference(expected: Lists, actual: Lists) -> str:
    """In words, by instance; empty = none. A service that nobody expects is ignored."""
    wrong = [
        f"{service}/{id_} as {right.get(id_)}, but as {listed.get(id_)}"
        for service, right in expected.items()
        for listed in (actual.get(service, {}),)
        for id_ in sorted(right.keys() | listed.keys())
        if right.get(id_) != listed.get(id_)
    ]
    return "; ".join(wrong)


@dataclass(slots=True)
class Change:
    """One instance becomes something else."""

    number: int
    id: str
    state: State
    at: float
    """When it was begun (``time.monotonic``)."""
    acked: bool = False
    """Whether the registry said that it is done."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a watcher was told at one moment, about one service."""

    at: float
    service: str
    put: dict[str, str]
    """By id: instances that are new or changed."""
    gone: tuple[str, ...]
    again: tuple[str, ...] = ()
    """Ids of which it was told as changed what it knew already."""


@dataclass(slots=True)
class Verdict:
    """What went wrong, one line for each event."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


class Ledger:
    """All that is announced, by service and id."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[str, list[Change]]] = {}
        self._count = 0

    @property
    def next_number(self) -> int:
        """What the next change will be numbered."""
        return self._count + 1

    def plan(self, service: str, id_: str, state: State, at: float | None = None) -> Change:
        """Note a change that is about to be made (``at`` some other moment than now)."""
        self._count += 1
        change = Change(self._count, id_, state, time.monotonic() if at is None else at)
        self._changes.setdefault(service, {}).setdefault(id_, []).append(change)
        return change

    def expected(self) -> Lists:
        """By service and id: what has to be listed when all changes are made."""
        return {
            service: {id_: made[-1].state for id_, made in changes.items() if made[-1].state}
            for service, changes in self._changes.items()
        }

    def judge(self, sightings: Iterable[Sighting], origin: float = 0.0) -> Verdict:
        """Compare with what a watcher was told, from the first to the last.

        Times in the verdict are counted from ``origin``.
        """
        verdict = Verdict()
        views = {
            service: _View(service, self._changes[service], origin) for service in self._changes
        }
        for sighting in sightings:
            if sighting.service in views:
                views[sighting.service].take(sighting, verdict)
        for view in views.values():
            view.end(verdict)
        return verdict


class _View:
    """How far a watcher has come with each instance of a service."""

    def __init__(self, service: str, changes: Mapping[str, list[Change]], origin: float) -> None:
        self._service = service
        self._origin = origin
        self._changes = changes
        self._place = dict.fromkeys(changes, -1)
        """By id: the index of the change that the watcher has seen last; -1 = none yet."""
        self._astray: set[str] = set()
        """Ids that show what they should not."""
        self._missed: set[int] = set()

    def take(self, sighting: Sighting, verdict: Verdict) -> None:
        for id_ in sighting.again:
            verdict.twice.append(f"{self._name(id_)} told again at {self._clock(sighting.at)}")
        for id_ in sighting.gone:
            self._move(id_, None, sighting.at, verdict)
        for id_, state in sighting.put.items():
            self._move(id_, state, sighting.at, verdict)
        self._look_back(sighting.at, verdict)

    def end(self, verdict: Verdict) -> None:
        for id_, changes in self._changes.items():
            last = changes[-1]
            came = self._place[id_] == len(changes) - 1 and id_ not in self._astray
            never_was = self._place[id_] == -1 and last.state is None
            if not (came or never_was) and last.number not in self._missed:
                verdict.lost.append(f"{self._name(id_)}: change {last.number} never came")

    def _move(self, id_: str, state: State, at: float, verdict: Verdict) -> None:
        """Later states only, and each once: what comes back after it was replaced is wrong."""
        changes = self._changes.get(id_, [])
        place = self._place.setdefault(id_, -1)
        for index in range(place + 1, len(changes)):
            if changes[index].state == state:
                self._place[id_] = index
                self._astray.discard(id_)
                return
        here = changes[place].state if place >= 0 else None
        if state == here and id_ in self._astray:
            self._astray.discard(id_)  # it has been counted when it went astray
            return
        self._astray.add(id_)
        what = "vanished" if state is None else f"became {state}"
        verdict.twice.append(f"{self._name(id_)} {what} at {self._clock(at)}, out of turn")

    def _look_back(self, at: float, verdict: Verdict) -> None:
        """Changes come in their order: none that was done before a visible one may be missing,
        unless another has taken its place since.

        Goodbyes are left out: of an instance whose key had gone before it could say goodbye, a
        watcher hears only after a while.
        """
        newest = max((self._number(id_) for id_ in self._changes), default=0)
        for id_, changes in self._changes.items():
            begun = [change for change in changes if change.at <= at]
            if len(begun) - 1 <= self._place[id_]:
                continue
            last = begun[-1]
            due = last.acked and last.state and last.number < newest
            if due and last.number not in self._missed:
                self._missed.add(last.number)
                verdict.lost.append(
                    f"{self._name(id_)}: change {last.number} was not there at {self._clock(at)},"
                    f" when change {newest} was"
                )

    def _number(self, id_: str) -> int:
        place = self._place[id_]
        return self._changes[id_][place].number if place >= 0 else 0

    def _clock(self, at: float) -> str:
        return f"{at - self._origin:.2f} s"

    def _name(self, id_: str) -> str:
        return f"{self._service}/{id_}"
