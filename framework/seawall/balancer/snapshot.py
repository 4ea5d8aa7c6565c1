"""What is worked out from the candidates, and kept for as long as they stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from seawall.call import Endpoint, fact_of

T = TypeVar("T")


class OncePerSnapshot(Generic[T]):
    """Calls ``work_out`` once for a snapshot, which is a tuple, and each time for a selection."""

    __slots__ = ("_kept", "_work_out")

    def __init__(self, work_out: Callable[[Sequence[Endpoint]], T]) -> None:
        self._work_out = work_out
        self._kept: tuple[Sequence[Endpoint], T] | None = None

    def of(self, candidates: Sequence[Endpoint]) -> T:
        kept = self._kept
        if kept is not None and kept[0] is candidates:
            return kept[1]
        result = self._work_out(candidates)
        if isinstance(candidates, tuple):
            self._kept = candidates, result
        return result


def fact(endpoint: Endpoint, label: str) -> str:
    """What the registry says of it under ``label``, as text; empty = nothing."""
    return fact_of(endpoint.instance.metadata, label)


def parted(candidates: Sequence[Endpoint], label: str) -> dict[str, Sequence[Endpoint]]:
    """The candidates by a fact about them; no part is empty.

    The parts of a snapshot are snapshots, and those of a selection are not.
    """
    lists: dict[str, list[Endpoint]] = {}
    for endpoint in candidates:
        lists.setdefault(fact(endpoint, label), []).append(endpoint)
    if isinstance(candidates, tuple):
        return {value: tuple(part) for value, part in lists.items()}
    return dict(lists)


def capacity(endpoints: Iterable[Endpoint]) -> float:
    """The sum of their weights, of which slow start takes nothing: it would not stay true."""
    return sum([1.0 / e.fair_share for e in endpoints])


def census(endpoints: Iterable[Endpoint]) -> float:
    """The capacity of all instances that these stand for; of a subset its part of the service."""
    return sum([e.stands_for / e.fair_share for e in endpoints])
