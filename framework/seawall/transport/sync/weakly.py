"""Objects that are known without being held, by any thread."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class Weakly(Generic[T]):
    """A set of objects that it does not keep alive, for threads without a lock.

    A ``WeakSet`` raises RuntimeError if another thread adds to it, or takes from it, while it is
    iterated over. Here each step is one operation of a dict. Objects count by identity.
    """

    __slots__ = ("_refs",)

    def __init__(self) -> None:
        self._refs: dict[int, weakref.ref[T]] = {}

    def add(self, item: T) -> None:
        # An id is free for another object only after the reference's callback.
        self._refs[id(item)] = weakref.ref(item, partial(_forget, self._refs, id(item)))

    def discard(self, item: T) -> None:
        self._refs.pop(id(item), None)

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[T]:
        for ref in tuple(self._refs.values()):
            item = ref()
            if item is not None:
                yield item


def _forget(refs: dict[int, weakref.ref[T]], key: int, ref: weakref.ref[T]) -> None:
    if refs.get(key) is ref:
        refs.pop(key, None)
