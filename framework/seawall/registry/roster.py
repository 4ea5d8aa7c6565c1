"""Who is listed now: updates, added up."""

from __future__ import annotations

from seawall.call import Instance, Listing, Update


class Roster:
    """The instances of one service, by id, after all updates so far."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[str, Instance] = {}

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All of them, in the order of their ids."""
        return tuple(self._by_id[id_] for id_ in sorted(self._by_id))

    def apply(self, update: Update) -> None:
        """Take an update in."""
        if isinstance(update, Listing):
            self._by_id = {one.id: one for one in update.instances}
            return
        for id_ in update.left | update.lost:
            self._by_id.pop(id_, None)
        for one in update.put:
            self._by_id[one.id] = one
