"""Where calls wait for something to change."""

from __future__ import annotations

from collections.abc import Callable


class Waiting:
    """Those who want to be called once, at the next change, in the order in which they came."""

    __slots__ = ("_wakes",)

    def __init__(self) -> None:
        self._wakes: dict[object, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._wakes)

    def wait(self, key: object, wake: Callable[[], None]) -> None:
        """Call ``wake`` once. ``key`` is for ``unwait``."""
        self._wakes[key] = wake

    def unwait(self, key: object) -> None:
        """Don't call what ``wait`` was given for ``key``, if it hasn't been."""
        self._wakes.pop(key, None)

    def wake(self) -> None:
        """Call them all."""
        wakes, self._wakes = self._wakes, {}
        for wake in wakes.values():
            wake()
