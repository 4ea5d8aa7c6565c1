"""Mass expiry: when most instances vanish at once, it is rather the registry that is ill."""

from __future__ import annotations

from collections.abc import Iterable

from seawall.call import Instance

MASS = 0.5
"""The share of a service's instances above which a loss isn't believed unseen. Eureka's
self-preservation, the model of this guard, doubts more than 15 % within 15 minutes; as each
vanished instance is asked here, a doubt costs little and may wait until it matters."""


class ExpiryGuard:
    """Notices when more than half of a service's instances vanish within ``window`` seconds.

    One instance that vanishes has crashed. When most do, without a goodbye, a lease server has
    lost its data, or was cut off from the whole fleet: then those that still answer a health
    check are to be kept. What to ask whom is the business of whoever holds the connections.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._vanished: dict[str, tuple[float, Instance | None]] = {}
        """By id: those that vanished of late, and when; None = it is known to be dead."""

    def vanish(self, lost: Iterable[Instance], listed: int, now: float) -> list[Instance] | None:
        """Take note that ``lost`` have vanished, of ``listed`` that were listed until now.

        Returns all that vanished within the window if they are more than half of those who were
        there: each is then in doubt, unless it is known to be dead. None = they are gone.
        """
        self._forget(now)
        total = listed + len(self._vanished)
        self._vanished |= {one.id: (now, one) for one in lost}
        if len(self._vanished) <= total * MASS:
            return None
        return [instance for _, instance in self._vanished.values() if instance is not None]

    def dead(self, ids: Iterable[str]) -> None:
        """These were asked and don't serve: they count as lost, and aren't doubted again."""
        for id_ in ids:
            if id_ in self._vanished:
                self._vanished[id_] = (self._vanished[id_][0], None)

    def seen(self, ids: Iterable[str]) -> None:
        """These are listed again, or have said goodbye after all."""
        for id_ in ids:
            self._vanished.pop(id_, None)

    def _forget(self, now: float) -> None:
        for id_, (when, _) in tuple(self._vanished.items()):
            if now - when < self._window:
                break
            del self._vanished[id_]
