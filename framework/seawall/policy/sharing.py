"""What the methods that one entry of a config names share: their bulkhead, their rate limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

Names = tuple[tuple[str, str], ...]
"""The (service, method) pairs of an entry."""

P = TypeVar("P")
S = TypeVar("S")


class Shared(Generic[P, S]):
    """A state for each entry that asks for one, made when it is first needed.

    It goes on when another config is put in force: were it made anew, calls that are under way
    would not count any more, and twice as many could run as either config allows.
    """

    __slots__ = ("_follow", "_make", "_states")

    def __init__(self, make: Callable[[P], S], follow: Callable[[S, P], None]) -> None:
        self._make = make
        self._follow = follow
        """Has a state go by another policy from now on."""
        self._states: dict[Names, S] = {}

    def of(self, names: Names, policy: P) -> S:
        """The state of the entry of these names."""
        state = self._states.get(names)
        if state is None:
            state = self._states[names] = self._make(policy)
        return state

    def carry(self, entries: Mapping[Names, P]) -> None:
        """These entries are in force now. One that names what an earlier one named goes on with its
        state; of several the one with the very same names, else the first."""
        before, self._states = self._states, {}
        for names in entries.keys() & before.keys():
            self._go_on(names, before.pop(names), entries[names])
        for names, policy in entries.items():
            if not before:
                break
            alike = (known for known in before if not set(known).isdisjoint(names))
            if names not in self._states and (earlier := next(alike, None)) is not None:
                self._go_on(names, before.pop(earlier), policy)

    def _go_on(self, names: Names, state: S, policy: P) -> None:
        self._states[names] = state
        self._follow(state, policy)
