"""Several changes made one, for a reader that is slower than they come."""

from __future__ import annotations

from seawall.call import Change, Instance


class Mailbox:
    """What has changed since it was last emptied. Of two changes to an id, the later counts."""

    __slots__ = ("_gone", "_put")

    def __init__(self) -> None:
        self._put: dict[str, Instance] = {}
        self._gone: dict[str, bool] = {}
        """By id: whether it said goodbye."""

    def put(self, instance: Instance) -> None:
        """It is new, or not as it was."""
        self._gone.pop(instance.id, None)
        self._put[instance.id] = instance

    def left(self, id_: str) -> None:
        """It has said goodbye."""
        self._put.pop(id_, None)
        self._gone[id_] = True

    def lost(self, id_: str) -> None:
        """It has vanished without a word."""
        self._put.pop(id_, None)
        self._gone[id_] = False

    def add(self, change: Change) -> None:
        """Take in a whole change."""
        for id_ in change.left:
            self.left(id_)
        for id_ in change.lost:
            self.lost(id_)
        for instance in change.put:
            self.put(instance)

    def take(self) -> Change | None:
        """Empty it; None if nothing has changed."""
        if not (self._put or self._gone):
            return None
        put, self._put = self._put, {}
        gone, self._gone = self._gone, {}
        left = frozenset(id_ for id_, goodbye in gone.items() if goodbye)
        return Change(tuple(put.values()), left, frozenset(gone.keys() - left))
